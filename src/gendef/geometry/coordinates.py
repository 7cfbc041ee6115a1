"""The coordinate rule: grids, sampling, fields and their folding.

Normalised coordinates are x then y; -1 and +1 are the outer edges of the image, pixel i of N has its centre at
(2i + 1)/N - 1. Pixel coordinates are x then y with the centre of the top-left pixel at (0, 0). A deformation field
holds, for every output pixel, the offset from its own normalised position to its place in the canonical image.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.runtime.devices import sent

Padding = Literal["border", "zeros"]
Mode = Literal["bilinear", "nearest", "bicubic"]


def identity_grid(
    height: int, width: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normalised coordinates of all pixel centres, (H, W, 2)."""
    x = (2 * torch.arange(width, device=device, dtype=dtype) + 1) / width - 1
    y = (2 * torch.arange(height, device=device, dtype=dtype) + 1) / height - 1
    return torch.stack((x[None, :].expand(height, -1), y[:, None].expand(-1, width)), dim=-1)


def _pair(x: float, y: float, like: Tensor) -> Tensor:
    """(x, y), of the type of `like` and on its device."""
    return sent(torch.tensor([x, y], dtype=like.dtype), like.device)


def to_pixels(coords: Tensor, size: Sequence[int]) -> Tensor:
    """Normalised coordinates (..., 2) -> pixel coordinates in an image of `size` (height, width)."""
    scale = _pair(size[1], size[0], coords)
    return ((coords + 1) * scale - 1) / 2


def to_normalised(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """Pixel coordinates (..., 2) -> normalised coordinates in an image of `size` (height, width)."""
    scale = _pair(size[1], size[0], pixels)
    return (2 * pixels + 1) / scale - 1


def sample(image: Tensor, coords: Tensor, *, padding: Padding = "border", mode: Mode = "bilinear") -> Tensor:
    """Read `image` (B, C, H, W) at normalised `coords` (B, ..., 2): (B, C, ...)."""
    batch, channels = image.shape[:2]
    flat = coords.reshape(batch, -1, 1, 2).to(image.dtype)
    values = F.grid_sample(image, flat, mode=mode, padding_mode=padding, align_corners=False)
    return values.reshape(batch, channels, *coords.shape[1:-1])


def warp(canonical: Tensor, deformation: Tensor, *, padding: Padding = "border", mode: Mode = "bilinear") -> Tensor:
    """Frames from canonical images and their fields (GenDeF, equation 1).

    Args:
        canonical: (B, C, Hc, Wc).
        deformation: (B, T, H, W, 2), offsets in normalised units of the canonical image.
        padding: what lies outside the canonical image.

    Returns:
        (B, T, C, H, W). A zero field of the canonical image's size gives the canonical image itself.
    """
    height, width = deformation.shape[2:4]
    grid = identity_grid(height, width, device=deformation.device, dtype=deformation.dtype)
    return sample(canonical, grid + deformation, padding=padding, mode=mode).transpose(1, 2)


def resize_field(deformation: Tensor, size: Sequence[int]) -> Tensor:
    """A field (T, H, W, 2) on a grid of `size` (height, width); offsets are normalised, so values stay."""
    if tuple(deformation.shape[1:3]) == tuple(size):
        return deformation
    moved = deformation.movedim(-1, 1)
    moved = F.interpolate(moved, size=(size[0], size[1]), mode="bilinear", align_corners=False)
    return moved.movedim(1, -1)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """One field for two warps: warp(canonical, compose(outer, inner)) is about warp(warp(canonical, inner), outer).

    Args:
        outer: (T, H, W, 2), the field applied last; it looks into what `inner` shows.
        inner: (T, h, w, 2), the field that looks into the canonical image; beyond its edge its border offset repeats.

    Returns:
        (T, H, W, 2).
    """
    grid = identity_grid(*outer.shape[1:3], device=outer.device, dtype=outer.dtype)
    return outer + sample(inner.movedim(-1, 1), grid + outer).movedim(1, -1)


def canonical_flow(deformation: Tensor, size: Sequence[int]) -> Tensor:
    """The paper's flow m_{t+1} - m_t, (T, H, W, 2) -> (T - 1, H, W, 2), x then y.

    It is the change of each pixel's sampling position, in pixels of a canonical image of `size` (height, width).
    """
    half = _pair(size[1] / 2, size[0] / 2, deformation)
    return deformation.diff(dim=0) * half


def sampling_positions(deformation: Tensor, size: Sequence[int]) -> Tensor:
    """Where each output pixel looks, in pixels of a canonical image of `size` (height, width): (T, H, W, 2)."""
    grid = identity_grid(*deformation.shape[-3:-1], device=deformation.device, dtype=deformation.dtype)
    return to_pixels(grid + deformation, size)


def jacobian_determinant(deformation: Tensor) -> Tensor:
    """Local area factor of the sampling map, by forward differences: (..., H, W, 2) -> (..., H - 1, W - 1).

    1 for the identity; zero or less where the field folds.
    """
    height, width = deformation.shape[-3:-1]
    grid = identity_grid(height, width, device=deformation.device, dtype=deformation.dtype)
    half = _pair(width / 2, height / 2, deformation)
    position = (grid + deformation) * half
    along_x = position[..., :-1, 1:, :] - position[..., :-1, :-1, :]
    along_y = position[..., 1:, :-1, :] - position[..., :-1, :-1, :]
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


def folded_share(deformation: Tensor) -> float:
    """Share of pixels where the field folds (determinant of its Jacobian at most zero)."""
    return float((jacobian_determinant(deformation) <= 0).float().mean())
