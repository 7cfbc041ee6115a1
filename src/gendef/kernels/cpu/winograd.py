"""3x3 convolutions by Winograd's minimal filtering F(4x4, 3x3): a quarter of the products (Lavin and Gray 2016).

A tile of 4x4 outputs reads 6x6 inputs. Tile and kernel are transformed to 36 values each; these are multiplied value
by value, summed over the input channels (36 matrix products), and transformed back. Rounding errors are about 5 times
those of a direct convolution, at most 1e-4 of the output's standard deviation (`benchmarks/kernels.py operations`). A
block of tiles goes through all steps before the next one, so that it stays in the processor's cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from gendef.kernels.buffers import VECTOR_BYTES, empty, empty_map, rows_of, workspace
from gendef.kernels.cpu import winograd_loops as loops
from gendef.kernels.cpu.threads import for_each, useful_threads

TILE = 4
"""Outputs of a tile, per axis."""
READ = 6
"""Inputs of a tile, per axis."""
BLOCK_TILES = 96
"""Tiles of a block, about. Not tuned."""
VECTOR = VECTOR_BYTES // 4
"""Values of a vector of float32, the least number of channels; float64 has half as many."""

_KERNEL = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))  # divided by 24


def transform_kernel(weight: Tensor) -> Tensor:
    """Kernels (O, I, 3, 3) -> (36, I, O); not differentiable."""
    made, channels = weight.shape[:2]
    source = weight.detach().permute(1, 2, 3, 0).contiguous().numpy()
    kernel = empty(READ**2, channels, made, dtype=weight.dtype)
    shaped = kernel.view(READ, READ, channels, made).numpy()

    def transform(first: int) -> None:
        half = workspace("half", weight, READ * TILE * VECTOR).numpy()
        loops.write_kernel(source, first, min(first + step, channels), half, shaped)

    threads = useful_threads(200 * weight.numel())
    step = -(-channels // threads)
    for_each(transform, range(0, channels, step), threads)
    return kernel


def winograd_conv2d(x: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """Convolve x (N, I, H, W), zero outside, with weight (O, I, 3, 3): (N, O, H + 2 padding - 2, W + 2 padding - 2).

    Channels last in memory; differentiable to any order.
    """
    return cast(Tensor, _Convolution.apply(x, weight, padding))


class _Convolution(Function):
    """Saves the input instead of its transform, which is 2.25 times as large."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return convolve_transformed(x, transform_kernel(weight), padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        by_x = winograd_conv2d(grads[0], _adjoint(weight), 2 - ctx.padding) if ctx.needs_input_grad[0] else None
        by_weight = _WeightGradient.apply(x, grads[0], ctx.padding) if ctx.needs_input_grad[1] else None
        return by_x, by_weight, None


class _WeightGradient(Function):
    """Gradient of a convolution in its weight, linear in the input and in the output's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grad: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, grad)
        ctx.padding = padding
        return _correlate(x, grad, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, grad = ctx.saved_tensors
        by_x = winograd_conv2d(grad, _adjoint(grads[0]), 2 - ctx.padding) if ctx.needs_input_grad[0] else None
        by_grad = winograd_conv2d(x, grads[0], ctx.padding) if ctx.needs_input_grad[1] else None
        return by_x, by_grad, None


def _adjoint(weight: Tensor) -> Tensor:
    return weight.transpose(0, 1).flip(2, 3)


def convolve_transformed(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """`winograd_conv2d` with a kernel (36, I, O) that `transform_kernel` gave; not differentiable.

    Raises:
        ValueError: the kernel is for another number of channels.
    """
    batch, channels = len(x), kernel.shape[2]
    if kernel.shape[1] != x.shape[1]:
        raise ValueError(f"the kernel is for {kernel.shape[1]} channels, the input has {x.shape[1]}")
    height, width = x.shape[2] + 2 * padding - 2, x.shape[3] + 2 * padding - 2
    y = empty_map(batch, channels, height, width, x.dtype)
    maps, source = rows_of(y).numpy(), rows_of(x).numpy()
    zero = np.zeros_like(source[0, 0])
    kernel = kernel.detach()
    threads = useful_threads(5 * y.numel() * x.shape[1])

    def convolve(block: Block) -> None:
        tiles = _read(source, block, padding, zero, x)
        products = workspace("products", x, READ**2, block.tiles, channels)
        torch.bmm(tiles, kernel, out=products)
        half = workspace("half", x, READ * TILE * VECTOR).numpy()
        shaped = products.view(READ, READ, block.tiles, channels).numpy()
        loops.write_tiles(shaped, maps, block.frame, block.frames, block.row, block.rows, block.columns, half)

    for_each(convolve, blocks(batch, height, width, threads), threads)
    return y


def _correlate(x: Tensor, grad: Tensor, padding: int) -> Tensor:
    """Gradient (O, I, 3, 3) of a convolution of x (N, I, H, W) whose output has the gradient (N, O, H', W')."""
    batch, out_channels, height, width = grad.shape
    source, grads = rows_of(x).numpy(), rows_of(grad).numpy()
    zero, grad_zero = np.zeros_like(source[0, 0]), np.zeros_like(grads[0, 0])
    threads = useful_threads(5 * grad.numel() * x.shape[1])
    own = list(blocks(batch, height, width, threads))
    edges = [index * len(own) // threads for index in range(threads + 1)]
    # A sum for each thread, of the same blocks in every run: results do not depend on which thread is faster.
    sums = empty(threads, READ**2, x.shape[1], out_channels, dtype=x.dtype)

    def correlate(index: int) -> None:
        total, part = sums[index], own[edges[index] : edges[index + 1]]
        if not part:
            total.zero_()
        for number, block in enumerate(part):
            tiles = _read(source, block, padding, zero, x)
            products = workspace("products", x, READ**2, block.tiles, out_channels)
            half = workspace("half", x, READ * TILE * VECTOR).numpy()
            shaped = products.view(READ, READ, block.tiles, out_channels).numpy()
            place = block.frame, block.frames, block.row, block.rows, block.columns
            loops.read_gradients(grads, *place, half, grad_zero, shaped)
            # The first product takes the place of what was in the memory.
            total.baddbmm_(tiles.transpose(1, 2), products, beta=float(number > 0))

    for_each(correlate, range(threads), threads)
    total = sums[0]
    for other in sums[1:]:
        total += other
    axis = torch.tensor(_KERNEL, dtype=torch.float64) / 24
    both = torch.kron(axis, axis).to(x.dtype)
    weight = empty(9, x.shape[1] * out_channels, dtype=x.dtype)
    torch.mm(both.t(), total.view(READ**2, -1), out=weight)  # written so that autocast leaves it alone
    return weight.view(3, 3, x.shape[1], out_channels).permute(3, 2, 0, 1)


def _read(source: np.ndarray, block: "Block", padding: int, zero: np.ndarray, like: Tensor) -> Tensor:
    """Transformed inputs of a block's tiles, (36, tiles, I)."""
    channels = like.shape[1]
    tiles = workspace("tiles", like, READ, READ, block.tiles, channels)
    half = workspace("rows", like, READ, (TILE * block.columns + 2) * channels).numpy()
    place = block.frame, block.frames, block.row, block.rows, block.columns
    loops.read_tiles(source, *place, padding, half, zero, tiles.numpy())
    return tiles.view(READ**2, block.tiles, channels)


@dataclass(frozen=True)
class Block:
    """Tiles [row, row + rows) x [0, columns) of the frames [frame, frame + frames)."""

    frame: int
    frames: int
    row: int
    rows: int
    columns: int

    @property
    def tiles(self) -> int:
        return self.frames * self.rows * self.columns


def blocks(batch: int, height: int, width: int, threads: int) -> Iterator[Block]:
    """Blocks of some rows of a large output, or of several small outputs; about one for each thread, or more."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    size = min(BLOCK_TILES, -(-batch * rows * columns // threads))
    if rows * columns <= size:
        step = size // (rows * columns)
        for frame in range(0, batch, step):
            yield Block(frame, min(step, batch - frame), 0, rows, columns)
        return
    step = -(-rows // -(-rows * columns // size))
    for frame in range(batch):
        for row in range(0, rows, step):
            yield Block(frame, 1, row, min(step, rows - row), columns)
