"""The photograph that is to move: any image, at the size of the video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gendef.errors import InputError
from gendef.media.images import read_image, resized, to_rgba_tensor

MOST_PIXELS = 3840 * 2160
"""Pixels of a frame unless a size is asked for: more than 4K plays on few machines."""
LEAST_SIDE = 16
"""Pixels of the shorter side of a photograph, at least."""
BACKGROUND = 1.0
"""What transparent parts of a photograph lie on: white, as on a page."""


@dataclass(frozen=True)
class Photograph:
    """A photograph at the size of the video.

    Attributes:
        image: (3, H, W) in [-1, 1].
        source_size: height and width of the photograph as it was given, upright; points are in its pixels.
        notes: what the user should know.
    """

    image: Tensor
    source_size: tuple[int, int]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the video."""
        return self.image.shape[1], self.image.shape[2]


def read_photograph(source: Any, size: int | None = None) -> Photograph:
    """A photograph from a file or an image in memory.

    Args:
        source: a path, or an image as `gendef.media.images.to_rgba_tensor` takes it.
        size: pixels of the shorter side; a smaller photograph keeps its own. Default the photograph's own size, up to
            `MOST_PIXELS`.

    Raises:
        InputError: the file is no image, or the photograph is too small or too large.
    """
    if size is not None and size < LEAST_SIDE:
        raise InputError(f"size must be at least {LEAST_SIDE} pixels, got {size}")
    image = read_image(source) if isinstance(source, (str, Path)) else source
    if isinstance(image, Image.Image) and image.mode in ("L", "RGB", "RGBA"):
        source_size = (image.height, image.width)
        target = _target_size(source_size, size)
        if target != source_size:
            # Before it becomes floating numbers, which take four times the memory.
            image = image.resize(target[::-1], Image.Resampling.LANCZOS, reducing_gap=3.0)
        colours, alpha = to_rgba_tensor(image)
    else:
        colours, alpha = to_rgba_tensor(image)
        source_size = (colours.shape[1], colours.shape[2])
        target = _target_size(source_size, size)
        colours = resized(colours, target)
        alpha = None if alpha is None else resized(alpha, target)
    if alpha is not None:
        colours = torch.lerp(torch.tensor(BACKGROUND), colours, alpha)
    notes = []
    if size is None and target != source_size:
        notes.append(
            f"the photograph of {source_size[1]}x{source_size[0]} is reduced to {target[1]}x{target[0]}:"
            " give a size for another one"
        )
    return Photograph(colours.clamp(-1, 1), source_size, tuple(notes))


def _target_size(source: Sequence[int], size: int | None) -> tuple[int, int]:
    """Height and width of the video."""
    height, width = source
    if min(source) < LEAST_SIDE:
        raise InputError(f"the photograph has {width}x{height} pixels; each side must have at least {LEAST_SIDE}")
    scale = (MOST_PIXELS / (height * width)) ** 0.5 if size is None else size / min(source)
    if scale >= 1:
        return height, width
    return max(round(height * scale), LEAST_SIDE), max(round(width * scale), LEAST_SIDE)
