"""The coordinate rule: normalised and pixel coordinates.

Normalised coordinates are x then y; -1 and +1 are the outer edges of the image, pixel i of N has its centre at
(2i + 1)/N - 1. Pixel coordinates are x then y with the centre of the top-left pixel at (0, 0).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gendef.runtime.devices import sent


def identity_grid(
    height: int, width: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normalised coordinates of all pixel centres, (H, W, 2)."""
    x = (2 * torch.arange(width, device=device, dtype=dtype) + 1) / width - 1
    y = (2 * torch.arange(height, device=device, dtype=dtype) + 1) / height - 1
    return torch.stack((x[None, :].expand(height, -1), y[:, None].expand(-1, width)), dim=-1)


def pair(x: float, y: float, like: Tensor) -> Tensor:
    """The tensor (x, y), with the dtype and on the device of `like`."""
    return sent(torch.tensor([x, y], dtype=like.dtype), like.device)


def to_pixels(coords: Tensor, size: Sequence[int]) -> Tensor:
    """Normalised coordinates (..., 2) -> pixel coordinates in an image of `size` (height, width)."""
    scale = pair(size[1], size[0], coords)
    return ((coords + 1) * scale - 1) / 2


def to_normalised(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """Pixel coordinates (..., 2) -> normalised coordinates in an image of `size` (height, width)."""
    scale = pair(size[1], size[0], pixels)
    return (2 * pixels + 1) / scale - 1


def pixel_grid(height: int, width: int) -> Tensor:
    """Pixel coordinates x and y of all pixel centres, (2, H, W)."""
    return to_pixels(identity_grid(height, width), (height, width)).movedim(-1, 0).contiguous()
