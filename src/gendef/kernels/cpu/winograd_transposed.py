"""Transposed 3x3 convolutions of stride 2 by Winograd's minimal filtering F(4, 2): 81 products instead of 144.

Along an axis, even outputs are a convolution with two taps, y[2 i] = w0 x[i] + w2 x[i - 1], and odd ones have a single
tap, y[2 i + 1] = w1 x[i]. Of a tile of 4x4 inputs, outputs even in both axes take 25 products, in one axis 20, odd 16.
"""

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.grad import conv2d_weight

from gendef.kernels.cpu import winograd_transposed_loops as loops
from gendef.kernels.cpu.buffers import empty_map, rows_of, workspace
from gendef.kernels.cpu.conv_epilogue import NOTHING, Epilogue
from gendef.kernels.cpu.fir import smooth_into
from gendef.kernels.cpu.threads import for_each, useful_threads
from gendef.kernels.cpu.winograd import TILE, VECTOR, Block, blocks, worthwhile

READ = 5
"""Inputs of a tile, per axis."""

MIN_IN_CHANNELS = 256
GROUP_TILES = 512
"""Tiles for every thread between two steps of all threads, about."""

_KERNEL = ((1 / 2, 0), (-1 / 2, -1 / 2), (-1 / 6, 1 / 6), (1 / 6, 1 / 3), (0, 1))


def transposed_worthwhile(x: Tensor, out_channels: int) -> bool:
    """Whether this is the faster way to give x (N, I, H, W) so many channels by a transposed 3x3 convolution."""
    return worthwhile(x, out_channels) and x.shape[1] >= MIN_IN_CHANNELS


def conv_transpose2d(x: Tensor, weight: Tensor) -> Tensor:
    """A transposed convolution of stride 2 with weight (O, I, 3, 3), the faster way."""
    if not transposed_worthwhile(x, len(weight)):
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return cast(Tensor, _Transposed.apply(x, weight))


class _Transposed(Function):
    """Gradients are direct: a convolution of stride 2 has no such form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return transposed_conv2d(x, transform_transposed(weight))

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

    Rows come first. (25, I, O), (5, I, O), (5, I, O), (I, O). Then those of the last row and the last column of
    outputs, (I, 3 O).
    """
    axis = torch.tensor(_KERNEL, dtype=weight.dtype, device=weight.device)
    even = weight.permute(2, 3, 1, 0)[[2, 0]]  # the taps in the order of the inputs they meet
    both = torch.einsum("pa,qb,abio->pqio", axis, axis, even[:, [2, 0]]).flatten(0, 1)
    rows = torch.einsum("pa,aio->pio", axis, even[:, 1])
    odd = weight.permute(2, 3, 1, 0)[1]
    columns = torch.einsum("qb,bio->qio", axis, odd[[2, 0]])
    ends = [part.permute(1, 2, 0).flatten(1).contiguous() for part in (weight[:, :, 2], weight[..., 2])]
    return both.contiguous(), rows.contiguous(), columns.contiguous(), odd[1].contiguous(), *ends


def transposed_conv2d(x: Tensor, kernels: tuple[Tensor, ...]) -> Tensor:
    """x (N, I, H, W), and what `transform_transposed` made of weight (O, I, 3, 3) -> (N, O, 2 H + 1, 2 W + 1).

    The values of `torch.nn.functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)`, channels last in memory;
    not differentiable.
    """
    kernels = tuple(kernel.detach() for kernel in kernels)
    batch, channels, height, width = x.shape
    made = kernels[3].shape[1]
    y = empty_map(batch, made, 2 * height + 1, 2 * width + 1, x.dtype)
    flat = rows_of(x)
    maps, source = rows_of(y).numpy(), flat.numpy()
    zero = np.zeros_like(source[0, 0])
    threads = useful_threads(10 * x.numel() * made)

    def convolve(block: Block) -> None:
        frames, lines = block.frames, block.frames * block.rows
        top, bottom = TILE * block.row, min(TILE * (block.row + block.rows), height)
        across = workspace("across", x, READ, lines, width, channels)
        both = workspace("both", x, READ, READ, block.tiles, channels)
        down = workspace("down", x, READ, TILE * lines, block.columns, channels)
        place = block.frame, frames, block.row, block.rows, block.columns
        loops.read_inputs(source, *place, zero, across.numpy(), both.numpy(), down.numpy())
        own = flat[block.frame : block.frame + frames, top:bottom].view(1, -1, channels)
        operands = both.flatten(0, 1), across.flatten(1, 2), down.flatten(1, 2), own
        names = "both made", "across made", "down made", "single made"
        products = []
        for name, operand, kernel in zip(names, operands, kernels[:4], strict=True):
            product = workspace(name, x, *operand.shape[:2], made)
            torch.bmm(operand, kernel.view(len(operand), channels, made), out=product)
            products.append(product)
        half = workspace("half", x, TILE * READ * VECTOR).numpy()
        loops.write_outputs(
            products[0].view(READ, READ, block.tiles, made).numpy(),
            products[1].view(READ, lines, width, made).numpy(),
            products[2].view(READ, TILE * lines, block.columns, made).numpy(),
            products[3].view(frames, bottom - top, width, made).numpy(),
            maps,
            *place,
            half,
        )

    for_each(convolve, blocks(batch, height, width, threads), threads)
    y[:, :, -1] = _end(x[:, :, -1], kernels[4])
    y[..., -1] = _end(x[..., -1], kernels[5])
    return y


def _end(x: Tensor, kernel: Tensor) -> Tensor:
    """What only the last inputs of one axis reach: x (N, I, L), kernel (I, 3 O) -> (N, O, 2 L + 1)."""
    products = torch.matmul(x.transpose(1, 2), kernel).unflatten(2, (3, -1))  # (N, L, 3, O)
    y = F.pad(products[:, :, :2].flatten(1, 2), (0, 0, 0, 1))
    y[:, 2::2] += products[:, :, 2]
    return y.transpose(1, 2)


def upsampled_with(x: Tensor, weight: Tensor, kernels: tuple[Tensor, ...], epilogue: Epilogue = NOTHING) -> Tensor:
    """A transposed convolution, the [1, 3, 3, 1] filter and `epilogue`: (N, I, H, W) -> (N, O, 2 H, 2 W).

    On a CPU, not differentiable. `kernels` as `transform_transposed` gives them, empty for a direct convolution.
    Frames that together give every thread a few blocks go through both steps before the next do.
    """
    batch, _, height, width = x.shape
    y = empty_map(batch, len(weight), 2 * height, 2 * width, x.dtype)
    together = max(GROUP_TILES * TILE**2 * torch.get_num_threads() // (height * width), 1)
    for first in range(0, batch, together):
        part = x[first : first + together]
        if kernels:
            part = transposed_conv2d(part, kernels)
        else:
            part = F.conv_transpose2d(part, weight.transpose(0, 1), stride=2)
        smooth_into(part, y, first, 1, 4.0, epilogue)
    return y
