"""Interpolation of images at arbitrary positions."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from gendef.geometry.coordinates import to_normalised

Padding = Literal["border", "zeros"]
Mode = Literal["bilinear", "nearest", "bicubic"]
Units = Literal["normalised", "pixels"]


def sample(
    image: Tensor,
    coords: Tensor,
    *,
    units: Units = "normalised",
    padding: Padding = "border",
    mode: Mode = "bilinear",
) -> Tensor:
    """Interpolate images at positions.

    Args:
        image: (C, H, W), or a batch (B, C, H, W).
        coords: (..., 2), x then y; (B, ..., 2) for a batch.
        units: of the coordinates; see `gendef.geometry.coordinates`.
        padding: values outside the image: those of the border, or zeros.
        mode: of `torch.nn.functional.grid_sample`.

    Returns:
        (C, ...), or (B, C, ...) for a batch.
    """
    if image.ndim == 3:
        return sample(image[None], coords[None], units=units, padding=padding, mode=mode)[0]
    batch, channels, height, width = image.shape
    if units == "pixels":
        coords = to_normalised(coords, (height, width))
    flat = coords.reshape(batch, -1, 1, 2).to(image.dtype)
    values = F.grid_sample(image, flat, mode=mode, padding_mode=padding, align_corners=False)
    return values.reshape(batch, channels, *coords.shape[1:-1])


def bilinear_cell(coordinate: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The two pixels along one axis between which bilinear interpolation reads.

    Args:
        coordinate: pixel coordinates along the axis, of any shape; clamped to the outer pixel centres (border padding).
        length: pixels of the axis.

    Returns:
        Number of the first of the two pixels, as float, and the weight of the second in [0, 1]. The first is at most
        `length - 2` (0 for one pixel), so that the last centre has weight 1 in the last cell.
    """
    clamped = coordinate.clamp(0, length - 1)
    first = clamped.floor().clamp_(max=max(length - 2, 0))
    return first, clamped - first
