"""Transposed 3x3 convolutions of stride 2 by Winograd's minimal filtering F(4, 2): 81 products instead of 144.

Along an axis, even outputs are a convolution with two taps, y[2 i] = w0 x[i] + w2 x[i - 1], and odd ones have a single
tap, y[2 i + 1] = w1 x[i]. Of a tile of 4x4 inputs, outputs even in both axes take 25 products, in one axis 20, odd 16.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.grad import conv2d_weight

from gendef.networks.winograd import TILE, Workspace, blocks, read_padded, worthwhile

READ = 5
"""Inputs of a tile, per axis."""

_KERNEL = ((1 / 2, 0), (-1 / 2, -1 / 2), (-1 / 6, 1 / 6), (1 / 6, 1 / 3), (0, 1))
_OUTPUT = ((1, 1, 1, 1, 0), (0, 1, -1, 2, 0), (0, 1, 1, 4, 0), (0, 1, -1, 8, 1))


def conv_transpose2d(x: Tensor, weight: Tensor) -> Tensor:
    """A transposed convolution of stride 2 with weight (O, I, 3, 3), the faster way."""
    if not worthwhile(x, len(weight)):
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return cast(Tensor, _Transposed.apply(x, weight))


class _Transposed(Function):
    """Gradients are direct: a convolution of stride 2 has no such form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return transposed_conv2d(x, weight, transform_transposed(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        kernel = weight.transpose(0, 1)
        by_x = F.conv2d(grads[0], kernel, stride=2) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return by_x, None
        return by_x, conv2d_weight(grads[0], kernel.shape, x, stride=2).transpose(0, 1)


def transform_transposed(weight: Tensor) -> tuple[Tensor, ...]:
    """Weight (O, I, 3, 3) of a transposed convolution -> kernels of the phases even-even, even-odd, odd-even, odd-odd.

    Rows come first. (25, I, O), (5, I, O), (5, I, O), (I, O).
    """
    axis = torch.tensor(_KERNEL, dtype=weight.dtype, device=weight.device)
    even = weight.permute(2, 3, 1, 0)[[2, 0]]  # the taps in the order of the inputs they meet
    both = torch.einsum("pa,qb,abio->pqio", axis, axis, even[:, [2, 0]]).flatten(0, 1)
    rows = torch.einsum("pa,aio->pio", axis, even[:, 1])
    odd = weight.permute(2, 3, 1, 0)[1]
    columns = torch.einsum("qb,bio->qio", axis, odd[[2, 0]])
    return both.contiguous(), rows.contiguous(), columns.contiguous(), odd[1].contiguous()


def transposed_conv2d(x: Tensor, weight: Tensor, kernels: tuple[Tensor, ...]) -> Tensor:
    """x (N, I, H, W), weight (O, I, 3, 3), and what `transform_transposed` made of it -> (N, O, 2 H + 1, 2 W + 1).

    The values of `torch.nn.functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)`, channels last in memory;
    not differentiable.
    """
    both, rows, columns, single = kernels
    batch, channels, height, width = x.shape
    made = single.shape[1]
    y = torch.empty(batch, made, 2 * height + 1, 2 * width + 1, dtype=x.dtype, memory_format=torch.channels_last)
    maps = y.permute(0, 2, 3, 1)
    back = torch.tensor(_OUTPUT, dtype=x.dtype, device=x.device)
    back_both = torch.kron(back, back)
    workspace = Workspace(x)
    for block in blocks(batch, height, width):
        frames, deep, wide = block.frames, TILE * block.rows, TILE * block.columns
        padded = read_padded(x, block, 1, READ - TILE, workspace)
        top = TILE * block.row
        own = maps[block.frame : block.frame + frames, 2 * top : 2 * min(top + deep, height)]
        half = workspace.take("half", READ, frames, block.rows, wide + 1, channels)
        _transform_input([padded[:, i : i + deep - 3 : TILE] for i in range(READ)], list(half))
        tiles = workspace.take("tiles", READ, READ, frames, block.rows, block.columns, channels)
        _transform_input([half[:, :, :, j : j + wide - 3 : TILE] for j in range(READ)], list(tiles.transpose(0, 1)))
        out = _multiply(tiles.flatten(0, 1), both, back_both, workspace).unflatten(0, (TILE, TILE))
        for i in range(TILE):
            for j in range(TILE):
                _place(own[:, 2 * i :: 2 * TILE, 2 * j : -1 : 2 * TILE], out[i, j])
        out = _multiply(half, rows, back, workspace)
        for i in range(TILE):
            _place(own[:, 2 * i :: 2 * TILE, 1::2], out[i][:, :, 1:])
        beside = workspace.take("half", READ, frames, deep, block.columns, channels)
        _transform_input([padded[:, 1:, j : j + wide - 3 : TILE] for j in range(READ)], list(beside))
        out = _multiply(beside, columns, back, workspace)
        for j in range(TILE):
            _place(own[:, 1::2, 2 * j : -1 : 2 * TILE], out[j])
        plain = workspace.take("products", frames * (deep + 1) * (wide + 1), made)
        torch.mm(padded.view(-1, channels), single, out=plain)
        _place(own[:, 1::2, 1::2], plain.view(frames, deep + 1, wide + 1, made)[:, 1:, 1:])
    # What only the last row and column of inputs reach.
    kernel = weight.transpose(0, 1)
    y[:, :, -1:] = F.conv_transpose2d(x[:, :, -1:], kernel[:, :, 2:], stride=(1, 2))
    y[..., -1:] = F.conv_transpose2d(x[..., -1:], kernel[..., 2:], stride=(2, 1))
    return y


def _multiply(values: Tensor, kernel: Tensor, back: Tensor, workspace: Workspace) -> Tensor:
    """Transformed inputs (V, ..., I) times kernels (V, I, O), summed and transformed back: (4 or 16, ..., O)."""
    made = kernel.shape[2]
    count = values[0].numel() // values.shape[-1]
    products = workspace.take("products", len(values), count, made)
    torch.bmm(values.view(len(values), count, -1), kernel, out=products)
    out = workspace.take("out", len(back), count * made)
    torch.mm(back, products.view(len(values), -1), out=out)
    return out.view(len(back), *values.shape[1:-1], made)


def _place(outputs: Tensor, values: Tensor) -> None:
    """Copy what of (frames, rows, columns, O) lies inside the map."""
    outputs.copy_(values[:, : outputs.shape[1], : outputs.shape[2]])


def _transform_input(x: list[Tensor], y: list[Tensor]) -> None:
    """One axis of the input's transform, five values to five."""
    torch.sub(x[3], x[1], out=y[3])
    torch.sub(x[1], x[3], alpha=2, out=y[4])
    y[4].add_(x[1]).sub_(x[2]).add_(x[4])
    torch.sub(y[3], x[1], out=y[1]).sub_(x[2])
    torch.add(x[3], x[1], alpha=2, out=y[2]).sub_(x[2], alpha=3)
    torch.sub(y[3], x[2], alpha=2, out=y[0]).add_(x[0], alpha=2)
