"""Samples of a map at the displaced taps of a convolution (deformable convolution v2, Zhu et al. 2019, equation 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.kernels.autotune import can_autotune
from gendef.kernels.registry import FastForm, Kernel


def deformable_columns(x: Tensor, offsets: Tensor, masks: Tensor, kernel_size: int, padding: int) -> Tensor:
    """The inputs of a convolution at displaced taps, times masks; to be multiplied with `tap_major` weights.

    Args:
        x: (B, C, H, W); zero outside.
        offsets: (B, 2 K^2, Ho, Wo) in pixels, y and x of tap 0, then of tap 1, ...; taps in row-major order.
        masks: (B, K^2, Ho, Wo) factors.
        kernel_size: K.
        padding: of the convolution without offsets.

    Returns:
        (B, Ho * Wo, K^2 * C).
    """
    columns: Tensor = sampled_columns(x, *tap_positions(offsets, kernel_size, padding), masks.to(x.dtype))
    return columns


def tap_major(weight: Tensor) -> Tensor:
    """(O, C, K, K) -> (K^2 * C, O)."""
    return weight.permute(2, 3, 1, 0).reshape(-1, len(weight))


def tap_positions(offsets: Tensor, kernel_size: int, padding: int) -> tuple[Tensor, Tensor]:
    """Rows and columns in pixels that every tap reads: offsets (B, 2 K^2, Ho, Wo) -> twice (B, K^2, Ho, Wo)."""
    batch, _, height, width = offsets.shape
    shift = torch.arange(kernel_size, device=offsets.device, dtype=offsets.dtype) - padding
    rows = torch.arange(height, device=offsets.device, dtype=offsets.dtype)
    columns = torch.arange(width, device=offsets.device, dtype=offsets.dtype)
    pairs = offsets.reshape(batch, -1, 2, height, width)
    y = pairs[:, :, 0] + shift.repeat_interleave(kernel_size)[None, :, None, None] + rows[None, None, :, None]
    return y, pairs[:, :, 1] + shift.repeat(kernel_size)[None, :, None, None] + columns[None, None, None, :]


def grid_sampled(x: Tensor, y: Tensor, x_position: Tensor, masks: Tensor) -> Tensor:
    """x (B, C, H, W) at rows y and columns x_position (B, K^2, Ho, Wo) in pixels, times masks, by `grid_sample`.

    Returns:
        (B, Ho * Wo, K^2 * C), of the type of x.
    """
    batch, _, height, width = x.shape
    taps, out_height, out_width = y.shape[1:]
    grid = torch.stack(((2 * x_position + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    # grid_sample wants one type for map and grid. Positions in half precision would be rounded, so the map is raised.
    samples = F.grid_sample(
        x.to(grid.dtype),
        grid.reshape(batch, taps * out_height, out_width, 2),
        padding_mode="zeros",
        align_corners=False,
    )
    samples = samples.unflatten(2, (taps, out_height)).to(x.dtype) * masks[:, None]
    return samples.permute(0, 3, 4, 2, 1).reshape(batch, out_height * out_width, -1)


def gathered(x: Tensor, y: Tensor, x_position: Tensor, masks: Tensor) -> Tensor:
    """`grid_sampled` as weighted sums of four rows of a table of pixels: on a CPU faster, forward and backward."""
    batch, channels, height, width = x.shape
    top, left = y.floor(), x_position.floor()
    down, right = y - top, x_position - left
    frames = torch.arange(batch, device=x.device)[:, None, None, None] * (height * width)
    places, factors = [], []
    for row, across in ((top, 1 - down), (top + 1, down)):
        for column, along in ((left, 1 - right), (left + 1, right)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            places.append(frames + (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long())
            factors.append((across * along).to(x.dtype) * masks * inside)
    # From (B, K^2, Ho, Wo) to a bag of four for every output and tap.
    bags, shares = (torch.stack(items, dim=-1).permute(0, 2, 3, 1, 4).reshape(-1, 4) for items in (places, factors))
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    samples = F.embedding_bag(bags, table, per_sample_weights=shares, mode="sum")
    return samples.view(batch, y.shape[2] * y.shape[3], -1)


sampled_columns = Kernel(
    "deformable_columns",
    grid_sampled,
    FastForm("gather of table rows", gathered, lambda x, *_: x.device.type == "cpu"),
    FastForm("Triton", "triton.deformable:sampled_columns", can_autotune),
)
