"""What every clip can do, whatever it is made of: give frames, in chunks or at once, and become a video file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.media.images import to_uint8
from gendef.media.video_writer import (
    write_gif,
    write_video,
)


class Video(ABC):
    """A clip that can be rendered at any size.

    Attributes:
        fps: frames a second.
    """

    fps: float

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Number of frames."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""

    @abstractmethod
    def iter_frames(self, size: tuple[int, int] | None = None, frames: Sequence[int] | None = None) -> Iterator[Tensor]:
        """Rendered frames in chunks (n, 3, H, W), so that memory does not grow with the video; see `render`."""

    def render(self, size: tuple[int, int] | None = None, frames: Sequence[int] | None = None) -> Tensor:
        """Frames, (T, 3, H, W) in [-1, 1].

        Args:
            size: height and width; default the field's. The canonical image is sampled at that resolution directly, so
                a large canonical image gives a sharp large video.
            frames: numbers of the frames to render; default all.

        Raises:
            InputError: the size is not positive, or a frame does not exist.
        """
        return torch.cat(list(self.iter_frames(size, frames)))

    def _checked_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if size is None:
            return self.size
        if len(size) != 2 or min(size) < 1:
            raise InputError(f"size must be a positive height and width, got {size}")
        return int(size[0]), int(size[1])

    def _checked_frames(self, frames: Sequence[int] | None) -> Sequence[int]:
        if frames is None:
            return range(self.num_frames)
        chosen = [int(frame) for frame in frames]
        wrong = [frame for frame in chosen if not 0 <= frame < self.num_frames]
        if wrong or not chosen:
            raise InputError(f"frames must be between 0 and {self.num_frames - 1}, got {wrong[0] if wrong else 'none'}")
        return chosen

    def _frames(self, size: tuple[int, int] | None) -> Iterator[np.ndarray]:
        return (frame for chunk in self.iter_frames(size) for frame in to_uint8(chunk))

    def to_mp4(self, path: str | Path, size: tuple[int, int] | None = None) -> None:
        """Write the rendered video as H.264, at the given height and width; odd ones get one pixel more."""
        write_video(path, self._frames(size), self.fps, enlarge=False)

    def to_gif(self, path: str | Path, size: tuple[int, int] | None = None) -> None:
        """Write the rendered video as an endless gif."""
        write_gif(path, self._frames(size), self.fps)
