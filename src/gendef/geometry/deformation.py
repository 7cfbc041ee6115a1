"""Operations on deformation fields: warping, composition, flow, Jacobians.

A deformation field holds, for every output pixel, the offset from its own normalised position to its position in the
canonical image (a backward map).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from gendef.geometry.coordinates import identity_grid, pair, to_pixels
from gendef.geometry.sampling import Mode, Padding, sample


def warp(canonical: Tensor, deformation: Tensor, *, padding: Padding = "border", mode: Mode = "bilinear") -> Tensor:
    """Warp canonical images by deformation fields (GenDeF, equation 1).

    Args:
        canonical: (B, C, Hc, Wc).
        deformation: (B, T, H, W, 2), offsets in normalised units of the canonical image.
        padding: values outside the canonical image: those of its border, or zeros.
        mode: of the interpolation.

    Returns:
        (B, T, C, H, W). A zero field of the canonical image's size reproduces the canonical image.
    """
    height, width = deformation.shape[2:4]
    grid = identity_grid(height, width, device=deformation.device, dtype=deformation.dtype)
    return sample(canonical, grid + deformation, padding=padding, mode=mode).transpose(1, 2)


def resize_field(deformation: Tensor, size: Sequence[int]) -> Tensor:
    """Resample a field (T, H, W, 2) to a grid of `size` (height, width); normalised offsets keep their values."""
    if tuple(deformation.shape[1:3]) == tuple(size):
        return deformation
    moved = deformation.movedim(-1, 1)
    moved = F.interpolate(moved, size=(size[0], size[1]), mode="bilinear", align_corners=False)
    return moved.movedim(1, -1)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Compose two fields: warp(canonical, compose(outer, inner)) approximates warp(warp(canonical, inner), outer).

    Args:
        outer: (T, H, W, 2), the field applied last; it samples the result of `inner`.
        inner: (T, h, w, 2), the field that samples the canonical image; its border offsets are repeated outside.

    Returns:
        (T, H, W, 2).
    """
    grid = identity_grid(*outer.shape[1:3], device=outer.device, dtype=outer.dtype)
    return outer + sample(inner.movedim(-1, 1), grid + outer).movedim(1, -1)


def canonical_flow(deformation: Tensor, size: Sequence[int]) -> Tensor:
    """The paper's flow m_{t+1} - m_t, (T, H, W, 2) -> (T - 1, H, W, 2), x then y.

    It is the change of each pixel's sampling position, in pixels of a canonical image of `size` (height, width).
    """
    half = pair(size[1] / 2, size[0] / 2, deformation)
    return deformation.diff(dim=0) * half


def sampling_positions(deformation: Tensor, size: Sequence[int]) -> Tensor:
    """Sampling positions of a field in pixels of a canonical image of `size` (height, width), (T, H, W, 2)."""
    grid = identity_grid(*deformation.shape[-3:-1], device=deformation.device, dtype=deformation.dtype)
    return to_pixels(grid + deformation, size)


def jacobian_determinant(deformation: Tensor) -> Tensor:
    """Local area factor of the sampling map, by forward differences: (..., H, W, 2) -> (..., H - 1, W - 1).

    1 for the identity; zero or less where the field folds.
    """
    height, width = deformation.shape[-3:-1]
    grid = identity_grid(height, width, device=deformation.device, dtype=deformation.dtype)
    half = pair(width / 2, height / 2, deformation)
    position = (grid + deformation) * half
    along_x = position[..., :-1, 1:, :] - position[..., :-1, :-1, :]
    along_y = position[..., 1:, :-1, :] - position[..., :-1, :-1, :]
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


def folded_share(deformation: Tensor) -> float:
    """Share of pixels where the field folds (determinant of its Jacobian at most zero)."""
    return float((jacobian_determinant(deformation) <= 0).float().mean())
