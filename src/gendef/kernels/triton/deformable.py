"""Samples of a map at displaced taps, and their gradient, on a GPU: three Triton kernels.

With channels side by side, where a tap reads and with which factors is computed once for all of them, rows are read
and written whole, and nothing but the result is written: grid_sample makes a float32 copy of the map, samples before
their masks, and another order of them. Arithmetic is in float32. Gradients of the map, which many taps add to, and of
the places are kernels of their own: one waits for memory to add, the other needs registers for sums.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from gendef.kernels.autotune import Candidate, autotune
from gendef.kernels.deformable import grid_sampled

TYPES = (torch.float32, torch.float16, torch.bfloat16)
CHANNELS = (16, 64)
"""Fewest and most channels that a program processes at a time."""
FORWARD, MAP_GRADIENT, PLACE_GRADIENT = 2048, 512, 1024
"""Values, of rows by channels, that a program of each kernel has in hand: what registers hold."""
ALIGNED, UNALIGNED = 16, 512
"""Without a multiple of so many channels, threads read value by value, of many rows: at most so many values then."""
WARPS = 4


def sampled_columns(x: Tensor, y: Tensor, x_position: Tensor, masks: Tensor) -> Tensor:
    """The fast form of `gendef.kernels.deformable.sampled_columns` on a GPU: grid_sample or kernels, by autotuning."""

    def between_pixels() -> list[Tensor]:
        """Offsets start at zero, where positions lie on kinks and rounding decides about their gradient."""
        return [x, y.floor() + 0.37, x_position.floor() + 0.37, masks]

    plain = Candidate("grid_sample", grid_sampled)
    inputs = x, y, x_position, masks
    chosen = autotune(
        "samples at displaced taps", plain, lambda: [Candidate("Triton", sampled)], *inputs, tried_on=between_pixels
    )
    return chosen.run(*inputs)


@triton.jit
def _bounded(positions, source, known, size):
    """positions[source]. What is far from [0, size), or no number, becomes -2, from where nothing is read."""
    position = tl.load(positions + source, mask=known, other=-2.0).to(tl.float32)
    return tl.where((position > -2.0) & (position < size + 1.0), position, -2.0)


@triton.jit
def _pixel(frame, row, column, height, width):
    """A pixel's row in the table (B * H * W, C), -1 for one outside."""
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return tl.where(inside, (frame * height + row) * width + column, -1)[:, None]


@triton.jit
def _taps(y, x_position, masks, pair, pairs, taps, places, height, width):
    """Of pairs of a place and a tap: index in (B, K^2, places), mask, way down and right, and the four pixels."""
    known = pair < pairs
    # A place's taps are neighbours, as are places of a row: a program's pairs read much the same pixels.
    place, tap = pair // taps, pair % taps
    frame = place // places
    source = (frame * taps + tap) * places + place % places
    mask = tl.load(masks + source, mask=known, other=0.0).to(tl.float32)
    y, x_position = _bounded(y, source, known, height), _bounded(x_position, source, known, width)
    top, left = tl.floor(y), tl.floor(x_position)
    row, column = top.to(tl.int32), left.to(tl.int32)
    a = _pixel(frame, row, column, height, width)
    b = _pixel(frame, row, column + 1, height, width)
    c = _pixel(frame, row + 1, column, height, width)
    d = _pixel(frame, row + 1, column + 1, height, width)
    return source, mask, y - top, x_position - left, a, b, c, d


@triton.jit
def _shares(mask, down, right, a, b, c, d):
    """Factors of the four pixels; 0 for those outside."""
    upper, lower = mask * (1 - down), mask * down
    share_a = tl.where(a >= 0, (upper * (1 - right))[:, None], 0.0)
    share_b = tl.where(b >= 0, (upper * right)[:, None], 0.0)
    share_c = tl.where(c >= 0, (lower * (1 - right))[:, None], 0.0)
    share_d = tl.where(d >= 0, (lower * right)[:, None], 0.0)
    return share_a, share_b, share_c, share_d


@triton.jit
def _at(table, row, own, channels):
    """Addresses of table[row, own]."""
    return table + (row.to(tl.int64) * channels + own)  # passes 2^31


@triton.jit
def _load(table, row, some, own, channels):
    """table[row, own] where `some`, else 0."""
    return tl.load(_at(table, row, own, channels), mask=some & (own < channels), other=0.0).to(tl.float32)


@triton.jit
def _add(table, row, share, value, own, channels):
    """table[row, own] += share * value."""
    tl.atomic_add(_at(table, row, own, channels), share * value, mask=(share != 0) & (own < channels), sem="relaxed")


@triton.jit
def _forward(
    table, y, x_position, masks, columns, pairs, taps, places, height, width, channels,
    PAIRS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """PAIRS rows of `columns` (pairs, C)."""
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    _, mask, down, right, a, b, c, d = _taps(y, x_position, masks, pair, pairs, taps, places, height, width)
    share_a, share_b, share_c, share_d = _shares(mask, down, right, a, b, c, d)
    line, known = pair[:, None], (pair < pairs)[:, None]
    for first in range(0, channels, CHANNELS):
        own = first + tl.arange(0, CHANNELS)[None, :]
        # Between no pixels, as all taps are when a training starts, one is read.
        value = share_a * _load(table, a, share_a != 0, own, channels)
        value += share_b * _load(table, b, share_b != 0, own, channels)
        value += share_c * _load(table, c, share_c != 0, own, channels)
        value += share_d * _load(table, d, share_d != 0, own, channels)
        tl.store(_at(columns, line, own, channels), value, mask=known & (own < channels))


@triton.jit
def _map_gradient(
    grad, y, x_position, masks, table_grad, pairs, taps, places, height, width, channels,
    PAIRS: tl.constexpr, CHANNELS: tl.constexpr, ADJACENT: tl.constexpr,
):  # fmt: skip
    """Adds to `table_grad`, float32 (B * H * W, C), what PAIRS rows of `grad` (pairs, C) give to it."""
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    _, mask, down, right, a, b, c, d = _taps(y, x_position, masks, pair, pairs, taps, places, height, width)
    share_a, share_b, share_c, share_d = _shares(mask, down, right, a, b, c, d)
    line, known = pair[:, None], (pair < pairs)[:, None]
    for first in range(0, channels, CHANNELS):
        # Threads read as many neighbours as they can add: else all go through shared memory, once for each pixel.
        own = tl.max_contiguous(first + tl.arange(0, CHANNELS), ADJACENT)[None, :]
        value = _load(grad, line, known, own, channels)
        _add(table_grad, a, share_a, value, own, channels)
        _add(table_grad, b, share_b, value, own, channels)
        _add(table_grad, c, share_c, value, own, channels)
        _add(table_grad, d, share_d, value, own, channels)


@triton.jit
def _place_gradient(
    grad, table, y, x_position, masks, y_grad, x_position_grad, masks_grad,
    pairs, taps, places, height, width, channels,
    PAIRS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Gradients of PAIRS positions and masks, from as many rows of `grad` (pairs, C)."""
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    source, mask, down, right, a, b, c, d = _taps(y, x_position, masks, pair, pairs, taps, places, height, width)
    line, known = pair[:, None], (pair < pairs)[:, None]
    dots_a = tl.zeros((PAIRS, CHANNELS), tl.float32)
    dots_b, dots_c, dots_d = dots_a, dots_a, dots_a
    for first in range(0, channels, CHANNELS):
        own = first + tl.arange(0, CHANNELS)[None, :]
        value = _load(grad, line, known, own, channels)
        dots_a += value * _load(table, a, a >= 0, own, channels)
        dots_b += value * _load(table, b, b >= 0, own, channels)
        dots_c += value * _load(table, c, c >= 0, own, channels)
        dots_d += value * _load(table, d, d >= 0, own, channels)
    dot_a, dot_c = tl.sum(dots_a, 1), tl.sum(dots_c, 1)
    upper, lower = tl.sum(dots_b, 1) - dot_a, tl.sum(dots_d, 1) - dot_c
    above, below = dot_a + right * upper, dot_c + right * lower
    tl.store(y_grad + source, mask * (below - above), mask=pair < pairs)
    tl.store(x_position_grad + source, mask * (upper + down * (lower - upper)), mask=pair < pairs)
    tl.store(masks_grad + source, above + down * (below - above), mask=pair < pairs)


class _Sizes(NamedTuple):
    """What all kernels take: pairs of a place and a tap, taps, places of a frame, and the map."""

    pairs: int
    taps: int
    places: int
    height: int
    width: int
    channels: int

    def tile(self, values: int) -> dict[str, int]:
        """The tile of a program, at most `values` values."""
        fewest, most = CHANNELS
        channels = min(max(triton.next_power_of_2(self.channels), fewest), most)
        values = values if self.channels % ALIGNED == 0 else min(values, UNALIGNED)
        return {"PAIRS": values // channels, "CHANNELS": channels}

    def launch(self, kernel: Any, values: int, *tensors: Tensor, **constants: int) -> None:
        """`kernel` for all pairs, with `values` for a program."""
        tile = self.tile(values)
        with torch.cuda.device_of(tensors[0]):
            grid = (triton.cdiv(self.pairs, tile["PAIRS"]),)
            kernel[grid](*tensors, *self, **tile, **constants, num_warps=WARPS)


def _adjacent(x: Tensor) -> int:
    """How many float32 values a thread adds to memory at once: a vector, from compute capability 9 on."""
    return 4 if x.is_cuda and torch.cuda.get_device_capability(x.device) >= (9, 0) else 1


class _Sampled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, x_position: Tensor, masks: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        taps, places = y.shape[1], y.shape[2] * y.shape[3]
        ctx.sizes = _Sizes(y.numel(), taps, places, height, width, channels)
        ctx.shape, ctx.dtype = (batch, height, width, channels), x.dtype
        table = x.permute(0, 2, 3, 1).contiguous()
        y, x_position, masks = (values.contiguous() for values in (y, x_position, masks))
        columns = x.new_empty(batch, places, taps * channels)
        ctx.sizes.launch(_forward, FORWARD, table, y, x_position, masks, columns)
        ctx.save_for_backward(table if any(ctx.needs_input_grad[1:]) else None, y, x_position, masks)
        return columns

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        table, *where = ctx.saved_tensors
        grad = grad.contiguous()
        x_grad, where_grads = None, [torch.empty_like(values) for values in where]
        if ctx.needs_input_grad[0]:
            table_grad = grad.new_zeros(ctx.shape, dtype=torch.float32)
            ctx.sizes.launch(_map_gradient, MAP_GRADIENT, grad, *where, table_grad, ADJACENT=_adjacent(grad))
            x_grad = table_grad.to(ctx.dtype).permute(0, 3, 1, 2)
        if table is not None:
            ctx.sizes.launch(_place_gradient, PLACE_GRADIENT, grad, table, *where, *where_grads)
        needed = zip(where_grads, ctx.needs_input_grad[1:], strict=True)
        return x_grad, *(values if need else None for values, need in needed)


def sampled(x: Tensor, y: Tensor, x_position: Tensor, masks: Tensor) -> Tensor:
    """`gendef.kernels.deformable.gathered` on a GPU; differentiable once.

    Args:
        x: (B, C, H, W), float32, float16 or bfloat16; channels last in memory is read as it is, other maps are copied.
        y, x_position: (B, K^2, Ho, Wo), rows and columns in pixels, float32; what is no number is outside.
        masks: (B, K^2, Ho, Wo).

    Returns:
        (B, Ho * Wo, K^2 * C), of the type of x. The gradient of x, which is channels last in memory, is summed up in no
        fixed order: its last digits differ from call to call.

    Raises:
        TypeError: another type of x.
        ValueError: positions and masks of other shapes.
    """
    if x.dtype not in TYPES:
        raise TypeError(f"a map of float32, float16 or bfloat16 is needed, got {x.dtype}")
    if x.ndim != 4 or y.ndim != 4 or len(y) != len(x) or not y.shape == x_position.shape == masks.shape:
        shapes = ", ".join(str(tuple(values.shape)) for values in (x, y, x_position, masks))
        raise ValueError(f"(B, C, H, W) and three times (B, K^2, Ho, Wo) are needed, got {shapes}")
    result: Tensor = _Sampled.apply(x, y, x_position, masks)
    return result
