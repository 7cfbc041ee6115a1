"""Tracks as files and as drawings."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from gendef.applications.flow import view_size
from gendef.applications.follow_points import FollowedPoints
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
    numbers = range(video.num_frames)
    with staged(Path(folder)) as stage:
        _write_csv(stage / "tracks.csv", tracks, "residual", numbers)
        names = ("positions", "visible", "residual", "canonical", *(() if tracks.layer is None else ("layer",)))
        _write_npz(stage / "tracks.npz", tracks, names, video.size)
        drawn = drawn_tracks(video, tracks)
        _write_drawings(stage, drawn, video.fps, _canonical_drawings(video, tracks), numbers, on_frame)


def write_tracks_of_frames(
    frames: Sequence[np.ndarray],
    fps: float,
    tracks: FollowedPoints,
    size: tuple[int, int],
    folder: str | Path,
    numbers: Sequence[int],
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Write points that were followed through a video's frames, uint8 (H, W, 3), as `write_tracks` does.

    There is no canonical image, and `deviation` takes the place of the residual; `tracks.npz` also holds the points as
    given, and the numbers of the frames.

    Args:
        size: height and width of the picture in whose pixels the positions are.
        numbers: of the frames, as `tracks.csv` names them.

    Raises:
        InputError: as there.
    """
    shown = view_size((frames[0].shape[0], frames[0].shape[1]), VIEW)
    places = _enlarged(tracks.positions, size, shown)
    pictures = (np.asarray(Image.fromarray(one).resize(shown[::-1], Image.Resampling.BICUBIC)) for one in frames)
    drawn = _drawn(pictures, places, tracks.visible.numpy(), point_colours(tracks.points.numpy()), TRAIL)
    with staged(Path(folder)) as stage:
        _write_csv(stage / "tracks.csv", tracks, "deviation", numbers)
        names = ("points", "positions", "visible", "deviation")
        _write_npz(stage / "tracks.npz", tracks, names, size, frames=np.array(numbers))
        _write_drawings(stage, drawn, fps, {}, numbers, on_frame)


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


def _write_drawings(
    stage: Path,
    drawn: Iterable[np.ndarray],
    fps: float,
    sheet: dict[str, np.ndarray],
    numbers: Sequence[int],
    on_frame: Callable[[], None],
) -> None:
    """Write the video of drawn frames, and a sheet of `sheet` and some of them."""
    chosen, pictures = spread_frames(len(numbers), SHEET_FRAMES), dict(sheet)

    def frames() -> Iterator[np.ndarray]:
        for t, frame in enumerate(drawn):
            if t in chosen:
                pictures[f"frame {numbers[t]}"] = frame
            on_frame()
            yield frame

    write_video(stage / "tracks.mp4", frames(), fps)
    write_image(stage / "tracks.png", labelled_sheet(pictures))


def drawn_tracks(video: RenderedVideo, tracks: Tracks, length: int = TRAIL) -> Iterator[np.ndarray]:
    """Frames, uint8 (H, W, 3), with points and their trails over the last `length` frames."""
    size = view_size(video.size, VIEW)
    frames = (frame for chunk in video.iter_frames(size) for frame in to_uint8(chunk))
    colours = point_colours(tracks.canonical.numpy())
    return _drawn(frames, _enlarged(tracks.positions, video.size, size), tracks.visible.numpy(), colours, length)


def _drawn(
    frames: Iterable[np.ndarray], places: np.ndarray, visible: np.ndarray, colours: np.ndarray, length: int
) -> Iterator[np.ndarray]:
    for t, frame in enumerate(frames):
        last = slice(max(t + 1 - length, 0), t + 1)
        yield draw_tracks(frame, places[:, last], visible[:, last], colours)


def _enlarged(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Pixel positions in the same picture of another size."""
    return (positions.numpy() + 0.5) * np.array([new[1] / old[1], new[0] / old[0]]) - 0.5


def _canonical_drawings(video: CanonicalVideo | CompositeVideo, tracks: Tracks) -> dict[str, np.ndarray]:
    """The points on the canonical image, or on those of the layers."""
    size = view_size(video.size, VIEW)
    colours, pictures = point_colours(tracks.canonical.numpy()), {}
    for number, (name, canonical) in enumerate(canonical_pictures(video)):
        places = _enlarged(tracks.canonical, (canonical.shape[1], canonical.shape[2]), size)[:, None]
        there = np.ones(len(places), bool) if tracks.layer is None else (tracks.layer == number).numpy()
        pictures[name] = draw_tracks(to_uint8(resized(canonical, size)), places, there[:, None], colours)
    return pictures


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
