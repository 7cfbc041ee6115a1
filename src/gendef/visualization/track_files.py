"""Writing tracks as files and drawings."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gendef.correspondence.point_tracking import FollowedPoints
from gendef.media.images import resized, to_uint8
from gendef.runtime.atomic_folder import staged
from gendef.video.base import Video
from gendef.video.point_tracks import Tracks
from gendef.visualization.overlays import draw_tracks, point_colours
from gendef.visualization.sheets import drawing_size, enlarged_frames, write_drawings

TRAIL = 16
"""Length of a trail, in frames."""
VIDEO, SHEET = "tracks.mp4", "tracks.png"


def write_tracks(
    video: Video,
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
    numbers = range(video.num_frames)
    with staged(Path(folder)) as stage:
        _write_csv(stage / "tracks.csv", tracks, "residual", numbers)
        names = ("positions", "visible", "residual", "canonical", *(() if tracks.layer is None else ("layer",)))
        _write_npz(stage / "tracks.npz", tracks, names, video.size)
        drawn, first = drawn_tracks(video, tracks), _canonical_drawings(video, tracks)
        write_drawings(stage / VIDEO, stage / SHEET, drawn, video.fps, first, numbers, on_frame)


def write_tracks_of_frames(
    frames: Sequence[np.ndarray],
    fps: float,
    tracks: FollowedPoints,
    size: tuple[int, int],
    folder: str | Path,
    numbers: Sequence[int],
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Write points that were tracked through a video's frames, uint8 (H, W, 3), as `write_tracks` does.

    There is no canonical image, and `deviation` takes the place of the residual; `tracks.npz` also holds the points as
    given, and the numbers of the frames.

    Args:
        size: height and width of the picture in whose pixels the positions are.
        numbers: of the frames, as `tracks.csv` names them.

    Raises:
        InputError: as there.
    """
    places = _enlarged(tracks.positions, size, drawing_size((frames[0].shape[0], frames[0].shape[1])))
    drawn = _drawn(enlarged_frames(frames), places, tracks.visible.numpy(), point_colours(tracks.points.numpy()), TRAIL)
    with staged(Path(folder)) as stage:
        _write_csv(stage / "tracks.csv", tracks, "deviation", numbers)
        names = ("points", "positions", "visible", "deviation")
        _write_npz(stage / "tracks.npz", tracks, names, size, frames=np.array(numbers))
        write_drawings(stage / VIDEO, stage / SHEET, drawn, fps, {}, numbers, on_frame)


def _write_csv(path: Path, tracks: Tracks | FollowedPoints, last: str, numbers: Sequence[int]) -> None:
    positions, visible, extra = tracks.positions.tolist(), tracks.visible.tolist(), getattr(tracks, last).tolist()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("point", "frame", "x", "y", "visible", last))
        for n, track in enumerate(positions):
            for t, (x, y) in enumerate(track):
                writer.writerow((n, numbers[t], f"{x:.4f}", f"{y:.4f}", int(visible[n][t]), f"{extra[n][t]:.5f}"))


def _write_npz(
    path: Path, tracks: Tracks | FollowedPoints, names: Sequence[str], size: tuple[int, int], **others: Any
) -> None:
    arrays: dict[str, Any] = {name: getattr(tracks, name).numpy() for name in names}
    np.savez_compressed(path, **arrays, **others, size=np.array(size))


def drawn_tracks(video: Video, tracks: Tracks, length: int = TRAIL) -> Iterator[np.ndarray]:
    """Frames, uint8 (H, W, 3), with points and their trails over the last `length` frames."""
    size = drawing_size(video.size)
    colours = point_colours(tracks.canonical.numpy())
    return _drawn(
        video.iter_pictures(size),
        _enlarged(tracks.positions, video.size, size),
        tracks.visible.numpy(),
        colours,
        length,
    )


def _drawn(
    frames: Iterable[np.ndarray], places: np.ndarray, visible: np.ndarray, colours: np.ndarray, length: int
) -> Iterator[np.ndarray]:
    for t, frame in enumerate(frames):
        last = slice(max(t + 1 - length, 0), t + 1)
        yield draw_tracks(frame, places[:, last], visible[:, last], colours)


def _enlarged(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Pixel positions in the same picture of another size."""
    return (positions.numpy() + 0.5) * np.array([new[1] / old[1], new[0] / old[0]]) - 0.5


def _canonical_drawings(video: Video, tracks: Tracks) -> dict[str, np.ndarray]:
    """The points on the canonical image, or on those of the layers."""
    size = drawing_size(video.size)
    colours, pictures = point_colours(tracks.canonical.numpy()), {}
    for number, (name, canonical) in enumerate(video.canonical_images):
        places = _enlarged(tracks.canonical, (canonical.shape[1], canonical.shape[2]), size)[:, None]
        there = np.ones(len(places), bool) if tracks.layer is None else (tracks.layer == number).numpy()
        pictures[name] = draw_tracks(to_uint8(resized(canonical, size)), places, there[:, None], colours)
    return pictures
