"""Animated gif and webp files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gendef.errors import InputError
from gendef.media.frame_times import checked_fps, durations_ms
from gendef.runtime.atomic_file import replacing


def write_gif(path: str | Path, frames: Iterable[np.ndarray], fps: float, times: Sequence[float] | None = None) -> None:
    """Write an endless gif from uint8 frames (H, W, 3) or (H, W, 4).

    Delays are rounded to the format's hundredths of a second so that their sums keep time with the frames.

    Args:
        times: of the frames, in seconds; None for the constant rate.

    Raises:
        InputError: there is no frame, or the frame rate is impossible.
    """
    _write(Path(path), frames, fps, times, "GIF", 10, {"disposal": 2})


def write_webp(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, times: Sequence[float] | None = None
) -> None:
    """Write an endless animated webp from uint8 frames (H, W, 3) or (H, W, 4), as by `write_gif`."""
    _write(Path(path), frames, fps, times, "WEBP", 1, {"quality": 90, "method": 4})


def _write(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    times: Sequence[float] | None,
    kind: str,
    step: int,
    options: dict[str, int],
) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    if not images:
        raise InputError(f"no frames to write to {path}")
    if kind == "GIF" and images[0].mode != "RGBA":
        options = {}
    durations = durations_ms(len(images), checked_fps(fps), times, step)
    with replacing(path) as temporary:
        images[0].save(temporary, kind, save_all=True, append_images=images[1:], duration=durations, loop=0, **options)
