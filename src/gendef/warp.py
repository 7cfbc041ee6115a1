"""The coordinate rule: grids, sampling and fields.

Normalised coordinates are x then y; -1 and +1 are the outer edges of the image, pixel i of N has its centre at
(2i + 1)/N - 1. Pixel coordinates are x then y with the centre of the top-left pixel at (0, 0). A deformation field
holds, for every output pixel, the offset from its own normalised position to its place in the canonical image.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["border", "zeros"]
Mode = Literal["bilinear", "nearest", "bicubic"]


def identity_grid(
    height: int, width: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normalised coordinates of all pixel centres, (H, W, 2)."""
    x = (2 * torch.arange(width, device=device, dtype=dtype) + 1) / width - 1
    y = (2 * torch.arange(height, device=device, dtype=dtype) + 1) / height - 1
    return torch.stack((x[None, :].expand(height, -1), y[:, None].expand(-1, width)), dim=-1)


def to_pixels(coords: Tensor, size: Sequence[int]) -> Tensor:
    """Normalised coordinates (..., 2) -> pixel coordinates in an image of `size` (height, width)."""
    scale = torch.tensor([size[1], size[0]], dtype=coords.dtype, device=coords.device)
    return ((coords + 1) * scale - 1) / 2


def to_normalised(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """Pixel coordinates (..., 2) -> normalised coordinates in an image of `size` (height, width)."""
    scale = torch.tensor([size[1], size[0]], dtype=pixels.dtype, device=pixels.device)
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
    count, height, width = deformation.shape[1:4]
    grid = identity_grid(height, width, device=deformation.device, dtype=deformation.dtype)
    frames = sample(canonical, grid + deformation, padding=padding, mode=mode)  # (B, C, T, H, W)
    assert frames.shape[2] == count
    return frames.transpose(1, 2)


def resize_field(deformation: Tensor, size: Sequence[int]) -> Tensor:
    """A field (T, H, W, 2) on a grid of `size` (height, width); offsets are normalised, so values stay."""
    if tuple(deformation.shape[1:3]) == tuple(size):
        return deformation
    moved = deformation.movedim(-1, 1)
    moved = F.interpolate(moved, size=(size[0], size[1]), mode="bilinear", align_corners=False)
    return moved.movedim(1, -1)


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
    position = (grid + deformation) * torch.tensor([width / 2, height / 2], device=deformation.device)
    along_x = position[..., :-1, 1:, :] - position[..., :-1, :-1, :]
    along_y = position[..., 1:, :-1, :] - position[..., :-1, :-1, :]
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


def folded_share(deformation: Tensor) -> float:
    """Share of pixels where the field folds (determinant of its Jacobian at most zero)."""
    return float((jacobian_determinant(deformation) <= 0).float().mean())


def invert_positions(
    deformation: Tensor, targets: Tensor, start: Tensor, *, iterations: int = 12
) -> tuple[Tensor, Tensor]:
    """Output positions that look at given canonical positions: Newton's method on x + d(x) = target.

    Args:
        deformation: one field (H, W, 2) for all targets.
        targets: canonical positions (N, 2), normalised.
        start: first guesses (N, 2), normalised.

    Returns:
        positions (N, 2), normalised, and the remaining distances |x + d(x) - target| (N,), in pixels of the output.
    """
    height, width = deformation.shape[:2]
    field = deformation.movedim(-1, 0)[None]
    half = torch.tensor([width / 2, height / 2], dtype=targets.dtype, device=targets.device)
    step_x, step_y = torch.diag(0.5 / half)

    def residual(x: Tensor) -> Tensor:
        return x + sample(field, x[None])[0].movedim(0, -1) - targets

    position = start.clone()
    error = residual(position)
    for _ in range(iterations):
        along_x = (residual(position + step_x) - residual(position - step_x)) * half[0]
        along_y = (residual(position + step_y) - residual(position - step_y)) * half[1]
        determinant = along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0]
        safe = torch.where(determinant.abs() < 0.05, torch.full_like(determinant, float("inf")), determinant)
        newton = torch.stack(
            (
                (along_y[:, 1] * error[:, 0] - along_y[:, 0] * error[:, 1]) / safe,
                (along_x[:, 0] * error[:, 1] - along_x[:, 1] * error[:, 0]) / safe,
            ),
            dim=-1,
        )
        # A step of the fixed-point iteration where the Jacobian is singular.
        change = torch.where(torch.isinf(safe)[:, None], error, newton)
        candidate = position - change
        candidate_error = residual(candidate)
        better = (candidate_error * half).norm(dim=-1) < (error * half).norm(dim=-1)
        position = torch.where(better[:, None], candidate, (position + candidate) / 2)
        error = torch.where(better[:, None], candidate_error, residual(position))
    return position, (error * half).norm(dim=-1)


def image_flow(deformation: Tensor, *, tolerance: float = 0.1) -> Tensor:
    """Where each pixel of a frame goes in the next frame: (T, H, W, 2) -> (T - 1, H, W, 2) in pixels.

    Inverts each field at the canonical positions of the frame before; NaN where no position comes within `tolerance`
    pixels (content that leaves the picture, or folds).
    """
    height, width = deformation.shape[1:3]
    grid = identity_grid(height, width, device=deformation.device)
    half = torch.tensor([width / 2, height / 2], device=deformation.device)
    flows = []
    for now, after in itertools.pairwise(deformation):
        targets = grid + now
        guess = grid + now - after
        found, distance = invert_positions(after, targets.reshape(-1, 2), guess.reshape(-1, 2))
        flow = (found - grid.reshape(-1, 2)) * half
        outside = (found.abs() > 1).any(dim=-1)
        flow[(distance > tolerance) | outside] = float("nan")
        flows.append(flow.reshape(height, width, 2))
    if not flows:
        return deformation.new_zeros(0, height, width, 2)
    return torch.stack(flows)
