"""Tracks as files and as drawings."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gendef.applications.flow import view_size
from gendef.applications.staging import staged
from gendef.applications.track import Tracks
from gendef.canonical_video import CanonicalVideo
from gendef.composite import CompositeVideo, canonical_pictures
from gendef.media.drawing import contact_sheet, spread_frames, write_image
from gendef.media.images import resized
from gendef.media.overlays import draw_tracks, point_colours
from gendef.media.video import to_uint8, write_video
from gendef.rendered import RenderedVideo

TRAIL = 16
"""Frames that a trail is long."""
SHEET_COLUMNS, SHEET_FRAMES = 4, 7
VIEW = 384
"""Shorter side of the drawings at least, in pixels."""


def write_tracks(
    video: CanonicalVideo | CompositeVideo,
    tracks: Tracks,
    folder: str | Path,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Write tracks into a folder, all of the files or none.

    - `tracks.csv`: columns point, frame, x, y, visible (1 or 0), residual.
    - `tracks.npz`: positions (N, T, 2), visible (N, T), residual (N, T), canonical (N, 2), size (height, width), and in
      a video of layers layer (N,).
    - `tracks.mp4`: the video with the points and their fading trails.
    - `tracks.png`: a sheet, the points on the canonical image and frames spread over the video.

    Args:
        on_frame: called after every drawn frame.

    Raises:
        InputError: `folder` is a file.
    """
    with staged(Path(folder)) as stage:
        _write_csv(stage / "tracks.csv", tracks)
        names = ("positions", "visible", "residual", "canonical", *(() if tracks.layer is None else ("layer",)))
        arrays: dict[str, Any] = {name: getattr(tracks, name).numpy() for name in names}
        np.savez_compressed(stage / "tracks.npz", **arrays, size=np.array(video.size))
        chosen = spread_frames(video.num_frames, SHEET_FRAMES)
        kept: dict[int, np.ndarray] = {}

        def frames() -> Iterator[np.ndarray]:
            for t, frame in enumerate(drawn_tracks(video, tracks)):
                if t in chosen:
                    kept[t] = frame
                on_frame()
                yield frame

        write_video(stage / "tracks.mp4", frames(), video.fps)
        write_image(stage / "tracks.png", _sheet(video, tracks, kept))


def _write_csv(path: Path, tracks: Tracks) -> None:
    positions, visible, residual = tracks.positions.tolist(), tracks.visible.tolist(), tracks.residual.tolist()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("point", "frame", "x", "y", "visible", "residual"))
        for n, track in enumerate(positions):
            for t, (x, y) in enumerate(track):
                writer.writerow((n, t, f"{x:.4f}", f"{y:.4f}", int(visible[n][t]), f"{residual[n][t]:.5f}"))


def drawn_tracks(video: RenderedVideo, tracks: Tracks, length: int = TRAIL) -> Iterator[np.ndarray]:
    """Frames, uint8 (H, W, 3), with points and their trails over the last `length` frames."""
    size = view_size(video.size, VIEW)
    places, visible = _enlarged(tracks.positions, video.size, size), tracks.visible.numpy()
    colours = point_colours(tracks.canonical.numpy())
    frames = (frame for chunk in video.iter_frames(size) for frame in to_uint8(chunk))
    for t, frame in enumerate(frames):
        last = slice(max(t + 1 - length, 0), t + 1)
        yield draw_tracks(frame, places[:, last], visible[:, last], colours)


def _enlarged(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Pixel positions in the same picture of another size."""
    return (positions.numpy() + 0.5) * np.array([new[1] / old[1], new[0] / old[0]]) - 0.5


def _sheet(video: CanonicalVideo | CompositeVideo, tracks: Tracks, drawn: dict[int, np.ndarray]) -> np.ndarray:
    size = view_size(video.size, VIEW)
    colours, pictures = point_colours(tracks.canonical.numpy()), {}
    for number, (name, canonical) in enumerate(canonical_pictures(video)):
        places = _enlarged(tracks.canonical, (canonical.shape[1], canonical.shape[2]), size)[:, None]
        there = np.ones(len(places), bool) if tracks.layer is None else (tracks.layer == number).numpy()
        pictures[name] = draw_tracks(to_uint8(resized(canonical, size)), places, there[:, None], colours)
    pictures.update({f"frame {t}": frame for t, frame in drawn.items()})
    return labelled_sheet(pictures)


def labelled_sheet(pictures: dict[str, np.ndarray], columns: int = SHEET_COLUMNS, gap: int = 4) -> np.ndarray:
    """Pictures of one size in rows, each with its name above it, on white."""
    rows = []
    names, images = list(pictures), list(pictures.values())
    for first in range(0, len(images), columns):
        part = slice(first, first + columns)
        rows.append(contact_sheet([images[part]], gap, column_labels=names[part], text_size=18))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)
