"""The representation: one canonical image, and where every pixel of every frame looks in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.clip_format import read_clip, write_clip
from gendef.errors import InputError
from gendef.media.images import to_image_tensor, to_rgba_tensor
from gendef.media.video import to_uint8, write_gif, write_video
from gendef.warp import canonical_flow, image_flow, jacobian_determinant, resize_field, warp

CHUNK_PIXELS = 2**22
"""Pixels that are rendered at a time."""


class CanonicalVideo:
    """A video as one image that moves.

    Args:
        canonical: the image that holds all content: a PIL image, a uint8 array (H, W, 3), or a floating array or tensor
            (3, H, W) in [-1, 1]; of any size.
        deformation: (T, H, W, 2), for each output pixel the offset to its place in the canonical image, in normalised
            units (x then y; the image spans -1 to 1). Zero shows the canonical image itself.
        fps: frames a second.
        info: how the clip was made; plain values, saved with it.
        report: what a fit reached (PSNR and so on).

    Raises:
        InputError: a shape, type or value cannot be used.
    """

    def __init__(
        self,
        canonical: Any,
        deformation: Any,
        fps: float = 25.0,
        *,
        info: dict[str, Any] | None = None,
        report: dict[str, Any] | None = None,
    ) -> None:
        self.canonical = to_image_tensor(canonical)
        field = deformation if isinstance(deformation, Tensor) else torch.from_numpy(np.asarray(deformation))
        if field.ndim != 4 or field.shape[-1] != 2 or min(field.shape) < 1 or not field.is_floating_point():
            raise InputError(
                f"a deformation field must be floating (T, H, W, 2), got {field.dtype} {tuple(field.shape)}"
            )
        if not fps > 0:
            raise InputError(f"fps must be positive, got {fps}")
        self.deformation = field.float()
        self.fps = float(fps)
        self.info = dict(info or {})
        self.report = dict(report or {})

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return self.deformation.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.deformation.shape[1], self.deformation.shape[2]

    def __repr__(self) -> str:
        (height, width), (tall, wide) = self.size, self.canonical.shape[1:]
        return (
            f"CanonicalVideo({self.num_frames} frames of {width}x{height}, canonical {wide}x{tall}, {self.fps:g} fps)"
        )

    def iter_frames(self, size: tuple[int, int] | None = None) -> Iterator[Tensor]:
        """Rendered frames in chunks (n, 3, H, W), so that memory does not grow with the video; see `render`."""
        height, width = self._checked_size(size)
        canonical = self._filtered_canonical((height, width))[None]
        step = max(CHUNK_PIXELS // (height * width), 1)
        for start in range(0, self.num_frames, step):
            field = resize_field(self.deformation[start : start + step], (height, width))
            yield warp(canonical, field[None])[0]

    def render(self, size: tuple[int, int] | None = None) -> Tensor:
        """All frames, (T, 3, H, W) in [-1, 1].

        Args:
            size: height and width; default the field's. The canonical image is sampled at that resolution directly, so
                a large canonical image gives a sharp large video.
        """
        return torch.cat(list(self.iter_frames(size)))

    def _checked_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if size is None:
            return self.size
        if len(size) != 2 or min(size) < 1:
            raise InputError(f"size must be a positive height and width, got {size}")
        return int(size[0]), int(size[1])

    def _filtered_canonical(self, size: tuple[int, int]) -> Tensor:
        """The canonical image, reduced where output pixels lie more than one of its pixels apart (no aliasing)."""
        field = self.deformation[:: max(self.num_frames // 4, 1)]
        if min(field.shape[1:3]) < 2:
            return self.canonical
        area = float(jacobian_determinant(field).abs().median())
        tall, wide = self.canonical.shape[1:]
        step = (area * tall * wide / (size[0] * size[1])) ** 0.5
        if step < 1.25:
            return self.canonical
        reduced = (max(round(tall / step), 1), max(round(wide / step), 1))
        return F.interpolate(self.canonical[None], reduced, mode="bilinear", align_corners=False, antialias=True)[0]

    def with_canonical(self, image: Any) -> "CanonicalVideo":
        """The same motion with another canonical image, of any size; where it is transparent, the present one shows."""
        colour, alpha = to_rgba_tensor(image)
        if alpha is not None:
            below = F.interpolate(self.canonical[None], colour.shape[1:], mode="bilinear", align_corners=False)[0]
            colour = alpha * colour + (1 - alpha) * below
        return CanonicalVideo(colour, self.deformation, self.fps, info=self.info, report=self.report)

    def flow(self, kind: Literal["canonical", "image"] = "image") -> Tensor:
        """Optical flow from each frame to the next, (T - 1, H, W, 2), x then y.

        "canonical" is the paper's flow m_{t+1} - m_t, the change of the sampling positions, in pixels of the canonical
        image. "image" says where each pixel of a frame goes in the next frame, in pixels of the frames; it inverts the
        field, and is not a number (NaN) where that has no solution.
        """
        if kind == "canonical":
            return canonical_flow(self.deformation, self.canonical.shape[1:])
        if kind == "image":
            flow, valid = image_flow(self.deformation)
            flow[~valid] = float("nan")
            return flow
        raise InputError(f"kind must be canonical or image, got {kind!r}")

    def save(self, folder: str | Path) -> None:
        """Write the clip as a folder (docs/format.md); an existing clip there is replaced at the end."""
        step = max(CHUNK_PIXELS // (self.size[0] * self.size[1]), 1)
        fields = (self.deformation[start : start + step] for start in range(0, self.num_frames, step))
        write_clip(
            folder,
            self.canonical,
            (self.num_frames, *self.size),
            zip(fields, self.iter_frames(), strict=True),
            self.fps,
            self.info,
            self.report,
        )

    @classmethod
    def load(cls, folder: str | Path) -> "CanonicalVideo":
        """A saved clip; an edited canonical.png takes effect, and the field is mapped from disk.

        Raises:
            ClipError: a file is missing, damaged, hostile or of an unknown version.
        """
        stored = read_clip(folder)
        return cls(stored.canonical, stored.deformation, stored.fps, info=stored.info, report=stored.report)

    def _frames(self, size: tuple[int, int] | None) -> Iterator[np.ndarray]:
        return (frame for chunk in self.iter_frames(size) for frame in to_uint8(chunk))

    def to_mp4(self, path: str | Path, size: tuple[int, int] | None = None) -> None:
        """Write the rendered video as H.264."""
        write_video(Path(path), self._frames(size), self.fps)

    def to_gif(self, path: str | Path, size: tuple[int, int] | None = None) -> None:
        """Write the rendered video as an endless gif."""
        write_gif(Path(path), self._frames(size), self.fps)
