"""Output of drawn frames: a video of all, and a contact sheet of some."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gendef.media.images import write_image
from gendef.media.video_writer import write_video
from gendef.visualization.drawing import (
    contact_sheet,
    spread_frames,
)
from gendef.visualization.flow import view_size

COLUMNS, FRAMES = 4, 7
"""Columns of a sheet, and number of frames on it."""
VIEW = 384
"""Least shorter side of the drawings, in pixels."""


def drawing_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which frames of `size` (height, width) are drawn on."""
    return view_size(size, VIEW)


def enlarged_frames(frames: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames, uint8 (H, W, 3), one at a time in the size at which they are drawn on."""
    tall, wide = drawing_size((frames[0].shape[0], frames[0].shape[1]))
    for frame in frames:
        yield np.asarray(Image.fromarray(frame).resize((wide, tall), Image.Resampling.BICUBIC))


def write_drawings(
    video: Path,
    sheet: Path,
    drawn: Iterable[np.ndarray],
    fps: float,
    before: dict[str, np.ndarray],
    numbers: Sequence[int],
    on_frame: Callable[[], None],
) -> None:
    """Write drawn frames as a video, and a sheet of them.

    Args:
        video, sheet: files to write.
        drawn: one for each number, uint8 (H, W, 3), of one size.
        before: pictures of that size and their names, which come first on the sheet.
        numbers: of the frames.
        on_frame: called after every frame.
    """
    chosen, pictures = spread_frames(len(numbers), FRAMES), dict(before)

    def frames() -> Iterator[np.ndarray]:
        for t, frame in enumerate(drawn):
            if t in chosen:
                pictures[f"frame {numbers[t]}"] = frame
            on_frame()
            yield frame

    write_video(video, frames(), fps)
    write_image(sheet, labelled_sheet(pictures))


def labelled_sheet(pictures: dict[str, np.ndarray], columns: int = COLUMNS, gap: int = 4) -> np.ndarray:
    """Pictures of one size in rows, each with its name above it, on white."""
    rows = []
    names, images = list(pictures), list(pictures.values())
    for first in range(0, len(images), columns):
        part = slice(first, first + columns)
        rows.append(contact_sheet([images[part]], gap, column_labels=names[part], text_size=18))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)
