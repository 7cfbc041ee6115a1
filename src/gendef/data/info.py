"""Contents of a data archive: statistics and a contact sheet."""

from typing import Any

import numpy as np

from gendef.data.archive import VideoArchive
from gendef.errors import InputError


def describe(archive: VideoArchive) -> dict[str, Any]:
    """Counts, lengths, sizes and origin of an archive, ready for JSON."""
    lengths = np.array(archive.lengths)
    per_class = {name: int(np.sum(np.array(archive.labels) == index)) for index, name in enumerate(archive.classes)}
    size = archive.path.stat().st_size
    return {
        "path": str(archive.path),
        "bytes": size,
        "resolution": archive.resolution,
        "clips": archive.num_clips,
        "frames": archive.num_frames,
        "sources": len(set(archive.sources)),
        "frames_per_clip": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "max": int(lengths.max()),
        },
        "clips_shorter_than_3": int((lengths < 3).sum()),
        "clips_shorter_than_32": int((lengths < 32).sum()),
        "fps": sorted(set(archive.fps)),
        "bytes_per_frame": round(size / archive.num_frames),
        "decoded_bytes": archive.num_frames * 3 * archive.resolution**2,
        "clips_per_class": per_class,
        "damaged": dict(archive.damaged),
        "skipped": archive.metadata.get("skipped", []),
        "warnings": [*archive.metadata.get("warnings", []), *_rate_warnings(archive.fps)],
        "settings": archive.metadata.get("settings", {}),
        "fingerprint": archive.fingerprint,
    }


def _rate_warnings(rates: list[float]) -> list[str]:
    different = sorted({round(rate, 3) for rate in rates})
    if len(different) < 2:
        return []
    return [
        f"the clips have {len(different)} different frame rates, {different[0]:g} to {different[-1]:g} a second;"
        " models learn motion per frame: prepare the data with --fps to bring them to one rate"
    ]


def sheet_rows(archive: VideoArchive, rows: int = 12, columns: int = 10) -> list[list[np.ndarray]]:
    """Frames of a contact sheet, uint8 (R, R, 3): one row per clip; clips and frames are evenly spaced.

    Raises:
        InputError: no rows or no columns.
    """
    if rows < 1 or columns < 1:
        raise InputError(f"a sheet needs at least one row and one column, got {rows} and {columns}")
    sheet = []
    for clip in _spread(archive.num_clips, rows):
        frames = archive.read_frames(clip, _spread(archive.lengths[clip], columns))
        sheet.append(list(frames.permute(0, 2, 3, 1).numpy()))
    return sheet


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` different numbers of [0, count), evenly spaced from the first to the last."""
    return sorted(set(np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()))
