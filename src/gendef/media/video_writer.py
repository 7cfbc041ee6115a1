"""Writing videos, streamed frame by frame."""

import math
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gendef.errors import InputError
from gendef.runtime.atomic_file import replacing


def checked_fps(fps: float) -> float:
    """The frame rate, if video files can carry it.

    Raises:
        InputError: not between 0.01 and 1000 frames a second.
    """
    if not 0.01 <= fps <= 1000:
        raise InputError(f"fps must be between 0.01 and 1000, got {fps}")
    return float(fps)


MAX_WAITING = 16
"""Frames that may wait for their encoding."""


class VideoWriter:
    """H.264 in mp4, near lossless; frames are uint8 (H, W, 3), all of one size.

    Odd sizes get one more row or column, which the format wants. Frames are encoded in a thread of their own, while the
    caller computes the next; a few wait at most.

    Args:
        enlarge: repeat pixels of frames under 256 by a whole factor, for players do not show stamps well.
    """

    def __init__(self, path: Path, fps: float, *, crf: int = 16, enlarge: bool = True) -> None:
        import av

        self._fps, self._crf = Fraction(checked_fps(fps)).limit_denominator(1001), crf
        self._container = av.open(str(path), "w")
        self._enlarge = enlarge
        self._stream: Any = None
        self._size: tuple[int, ...] = ()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        self._waiting: deque[Future[None]] = deque()

    def append(self, frame: np.ndarray) -> None:
        """Encode one more frame, which must not change afterwards.

        Raises:
            InputError: not uint8 (H, W, 3), or of another size than the frames before.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise InputError(f"a frame must be uint8 (H, W, 3), got {frame.dtype} {frame.shape}")
        if self._size and frame.shape != self._size:
            raise InputError(f"a frame of {frame.shape} follows frames of {self._size}: a video has one size")
        self._size = frame.shape
        if len(self._waiting) == MAX_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._worker.submit(self._encode, frame))

    def _encode(self, frame: np.ndarray) -> None:
        import av

        frame = _for_players(frame, self._enlarge)
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._fps)
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": str(self._crf), "preset": "veryfast"}
            # Name the colours that the conversion uses (BT.601), or players guess others for large pictures.
            context = self._stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = 6
            context.color_range = 1
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Encode what waits, and close the file."""
        try:
            while self._waiting:
                self._waiting.popleft().result()
            if self._stream is not None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
        finally:
            self._worker.shutdown(cancel_futures=True)
            self._container.close()


def _for_players(frame: np.ndarray, enlarge: bool) -> np.ndarray:
    factor = math.ceil(256 / min(frame.shape[:2])) if enlarge else 1
    if factor > 1:
        frame = frame.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, *, enlarge: bool = True) -> None:
    """Write an mp4 from uint8 frames (H, W, 3) as they come; nothing half-written stays behind.

    Args:
        enlarge: see `VideoWriter`.

    Raises:
        InputError: there is no frame, a frame is unfit, or the frame rate impossible.
    """
    path = Path(path)
    with replacing(path) as temporary:
        writer = VideoWriter(temporary, fps, enlarge=enlarge)
        count = 0
        try:
            for frame in frames:
                writer.append(frame)
                count += 1
        finally:
            writer.close()
        if count == 0:
            raise InputError(f"no frames to write to {path}")


def write_gif(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write an endless gif from uint8 frames (H, W, 3).

    Raises:
        InputError: there is no frame, or the frame rate is impossible.
    """
    path = Path(path)
    images = [Image.fromarray(frame) for frame in frames]
    if not images:
        raise InputError(f"no frames to write to {path}")
    with replacing(path) as temporary:
        images[0].save(
            temporary,
            "GIF",
            save_all=True,
            append_images=images[1:],
            duration=max(round(1000 / checked_fps(fps)), 20),  # players slow down what is faster
            loop=0,
        )
