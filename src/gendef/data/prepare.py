"""Makes a data archive from videos: sources in parallel, one zip with one folder per clip."""

import glob
import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gendef._version import __version__
from gendef.data.extract import Extracted, PrepareConfig
from gendef.data.workers import Job, default_workers, run_jobs
from gendef.errors import DataError
from gendef.media.sources import Source, discover
from gendef.media.video_reader import probe
from gendef.media.zips import FORMAT, FORMAT_VERSION, METADATA
from gendef.runtime.file_lock import LockedError, locked

LOCK = "lock"
"""Lock file in the temporary folder of a preparation; the end of the process releases it."""
_SUFFIX = {"jpeg": "jpg", "png": "png", "webp": "webp"}


@dataclass(frozen=True)
class Progress:
    """Progress of a preparation; `frames_total` comes from the files' headers, which can be wrong."""

    sources_done: int
    sources_total: int
    frames_done: int
    frames_total: int


@dataclass(frozen=True)
class Report:
    """Result of a preparation; dataset.json in the archive holds the same facts and every clip."""

    out: Path
    bytes: int
    seconds: float
    metadata: dict[str, Any]

    @property
    def num_clips(self) -> int:
        """Clips written."""
        return self.metadata["counts"]["clips"]

    @property
    def num_frames(self) -> int:
        """Frames written."""
        return self.metadata["counts"]["frames"]

    @property
    def skipped(self) -> list[dict[str, str]]:
        """Files that could not be read, in whole or from some frame on: `source`, `reason`."""
        return self.metadata["skipped"]

    @property
    def warnings(self) -> list[str]:
        """One sentence for everything a user should know."""
        return self.metadata["warnings"]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but the list of clips."""
        meta = {key: value for key, value in self.metadata.items() if key != "clips"}
        return {"out": str(self.out), "bytes": self.bytes, "seconds": round(self.seconds, 2), **meta}


def prepare(
    paths: Sequence[str | Path],
    out: str | Path,
    config: PrepareConfig | None = None,
    *,
    workers: int | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Write the data archive `out` from all videos in `paths`; the same videos give the same bytes, whatever `workers`.

    Args:
        paths: any mix of video files, folders of frames, folders of those, and zips of clips.
        config: what to do with the frames.
        workers: processes; default one per CPU. With more than one, a script must call this under
            `if __name__ == "__main__":`, as Python's multiprocessing demands.
        only, exclude: shell patterns on the names of sources.
        progress: called about five times a second.

    Raises:
        DataError: a path is missing, nothing is readable, no clip is long enough, a worker died, or the disk is full.
            Nothing is left behind, and an older `out` stays as it was.
    """
    started = time.monotonic()
    config, out = config or PrepareConfig(), Path(out)
    if workers is not None and workers < 1:
        raise DataError(f"workers must be at least 1, got {workers}")
    if out.is_dir():
        raise DataError(f"{out} is a folder; name a file, such as {out / 'data.zip'}")
    sources = discover([Path(path) for path in paths], only, exclude)
    if any(out.resolve() == source.path.resolve() for source in sources):
        raise DataError(f"{out} is one of the sources; choose another name for the result")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out)
        # Beside `out`: the same disk, so that the last step is a rename.
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.stem}-", suffix=".tmp", dir=out.parent))
        try:
            with locked(scratch / LOCK):
                metadata = _write_archive(scratch, sources, config, workers, progress)
                os.replace(scratch / "archive.zip", out)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        size = out.stat().st_size
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from error
    return Report(out, size, time.monotonic() - started, metadata)


def _remove_leftovers(out: Path) -> None:
    """Remove the temporary folders of preparations of `out` that were killed; those of running ones stay."""
    for folder in out.parent.glob(f".{glob.escape(out.stem)}-*.tmp"):
        if not (folder / LOCK).is_file():
            continue  # just made by another process, or not ours
        try:
            with locked(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)
        except LockedError:
            continue


def _write_archive(
    scratch: Path,
    sources: list[Source],
    config: PrepareConfig,
    workers: int | None,
    progress: Callable[[Progress], None] | None,
) -> dict[str, Any]:
    total = sum(probe(source).frames for source in sources) if progress else 0
    jobs = [Job(source, config, scratch / f"{number}.frames") for number, source in enumerate(sources)]
    done = 0

    def tick(frames: int) -> None:
        if progress:
            progress(Progress(done, len(sources), frames, max(total, frames)))

    record = _Record(config)
    results = run_jobs(jobs, min(workers or default_workers(), len(jobs)), tick)
    # Closed before the scratch folder goes: the workers write there.
    with closing(results), zipfile.ZipFile(scratch / "archive.zip", "w", zipfile.ZIP_STORED) as archive:
        for job, result in results:
            if isinstance(result, str):
                record.skip(job.source, result)
            else:
                record.add(archive, job, result)
            job.spool.unlink(missing_ok=True)
            done += 1
        metadata = record.metadata(len(sources))
        _write_member(archive, METADATA, json.dumps(metadata, indent=1).encode())
    return metadata


class _Record:
    """Collects what dataset.json says while clips are written."""

    def __init__(self, config: PrepareConfig) -> None:
        self._config = config
        self._clips: list[dict[str, Any]] = []
        self._labels: list[str] = []
        self._skipped: list[dict[str, str]] = []
        self._unreadable = self._cuts = self._dropped = 0
        self._enlarged: list[str] = []
        self._slower: list[str] = []

    def skip(self, source: Source, reason: str) -> None:
        self._skipped.append({"source": source.identity, "reason": reason})
        self._unreadable += 1

    def add(self, archive: zipfile.ZipFile, job: Job, result: Extracted) -> None:
        source = job.source
        for damage in result.damages:
            where = source.identity if damage.where == source.name else f"{source.identity}: {damage.where}"
            self._skipped.append({"source": where, "reason": damage.reason})
        self._cuts += result.cuts
        self._dropped += result.dropped
        if result.enlarged_from:
            self._enlarged.append(f"{source.identity} ({result.enlarged_from[0]}x{result.enlarged_from[1]})")
        if result.slower_fps:
            self._slower.append(f"{source.identity} ({result.slower_fps:g})")
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(source.inner or source.path.stem).name).strip("._") or "clip"
        with job.spool.open("rb") as spool:
            for clip in result.clips:
                name = f"{len(self._clips):05d}-{stem[:60]}"
                for index, (offset, length) in enumerate(clip.spans):
                    spool.seek(offset)
                    _write_member(archive, f"{name}/{index:06d}.{_SUFFIX[self._config.format]}", spool.read(length))
                self._labels.append(source.label)
                self._clips.append(
                    {
                        "name": name,
                        "frames": len(clip.spans),
                        "fps": round(clip.fps, 6),
                        "source": source.identity,
                        "first_frame": clip.first_frame,
                        "box": list(clip.box),
                        "label": None,
                    }
                )

    def metadata(self, num_sources: int) -> dict[str, Any]:
        if not self._clips:
            raise DataError(self._nothing(num_sources))
        classes = sorted(set(self._labels)) if self._config.labels == "folder" else []
        if classes:
            for clip, label in zip(self._clips, self._labels, strict=True):
                clip["label"] = classes.index(label)
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "made_by": f"gendef {__version__}",
            "resolution": self._config.resolution,
            "settings": asdict(self._config),
            "counts": {
                "sources": num_sources,
                "unreadable": self._unreadable,
                "clips": len(self._clips),
                "frames": sum(clip["frames"] for clip in self._clips),
                "scene_cuts": self._cuts,
                "dropped_clips": self._dropped,
            },
            "classes": classes,
            "warnings": self._warnings(classes),
            "skipped": self._skipped,
            "clips": self._clips,
        }

    def _nothing(self, num_sources: int) -> str:
        if self._unreadable == num_sources:
            first = self._skipped[0]
            return f"none of the {num_sources} sources can be read; the first, {first['source']}: {first['reason']}"
        return f"no clip has {self._config.min_frames} frames or more; give longer videos or lower --min-frames"

    def _warnings(self, classes: list[str]) -> list[str]:
        config, warnings = self._config, []
        if self._enlarged:
            warnings.append(
                f"smaller than {config.resolution} pixels, and enlarged, which adds no detail: {_some(self._enlarged)}"
            )
        if self._slower:
            warnings.append(
                f"slower than {config.fps:g} frames a second, and left at their own rate: {_some(self._slower)}"
            )
        rates = sorted({clip["fps"] for clip in self._clips})
        if len(rates) > 1:
            warnings.append(
                f"the clips have {len(rates)} different frame rates, {rates[0]:g} to {rates[-1]:g} a second; models"
                " learn motion per frame, and --fps brings all videos to one rate"
            )
        if self._dropped:
            warnings.append(f"clips dropped because they have fewer than {config.min_frames} frames: {self._dropped}")
        if len(classes) == 1:
            warnings.append(f"all clips are of one class, {classes[0]!r}: labels come from the folders of the videos")
        return warnings


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _write_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A fixed date and system keep the bytes equal from run to run and machine to machine.
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16
    archive.writestr(info, data)
