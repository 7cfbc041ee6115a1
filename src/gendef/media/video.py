"""Writing videos, streamed frame by frame."""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.errors import InputError


def to_uint8(frames: Tensor) -> np.ndarray:
    """Frames (..., 3, H, W) in [-1, 1] -> uint8 (..., H, W, 3)."""
    scaled = (frames.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and is removed when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class VideoWriter:
    """H.264 in mp4, near lossless; frames are uint8 (H, W, 3).

    Frames of less than 256 pixels are enlarged by a whole factor, for players do not show stamps well; odd sizes get
    one more row or column, which the format wants.
    """

    def __init__(self, path: Path, fps: float, *, crf: int = 16) -> None:
        import av

        if not fps > 0:
            raise InputError(f"fps must be positive, got {fps}")
        self._container = av.open(str(path), "w")
        self._fps, self._crf = Fraction(fps).limit_denominator(1000), crf
        self._stream: Any = None

    def append(self, frame: np.ndarray) -> None:
        """Encode one more frame."""
        import av

        frame = _for_viewing(frame)
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._fps)
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": str(self._crf), "preset": "veryfast"}
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Flush and close the file."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()


def _for_viewing(frame: np.ndarray) -> np.ndarray:
    factor = math.ceil(256 / min(frame.shape[:2]))
    if factor > 1:
        frame = frame.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write an mp4 from uint8 frames (H, W, 3); nothing half-written stays behind."""
    with replacing(path) as temporary:
        writer = VideoWriter(temporary, fps)
        try:
            for frame in frames:
                writer.append(np.ascontiguousarray(frame))
        finally:
            writer.close()


def write_gif(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write an endless gif from uint8 frames (H, W, 3)."""
    images = [Image.fromarray(frame) for frame in frames]
    if not images:
        raise InputError(f"no frames to write to {path}")
    with replacing(path) as temporary:
        images[0].save(
            temporary,
            "GIF",
            save_all=True,
            append_images=images[1:],
            duration=max(round(1000 / fps), 20),
            loop=0,
        )
