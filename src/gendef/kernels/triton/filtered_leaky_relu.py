"""Resampling, leaky ReLU and resampling back, with its gradient, on a GPU: one Triton kernel a direction.

The map at the higher resolution is made tile by tile and never leaves the chip. A tile is resampled by small dense
products, for which GPUs have units of their own: what it reads of the banded matrices is a few dozen rows and columns.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gendef.kernels.autotune import Candidate, autotune
from gendef.kernels.filtered_leaky_relu import apply_layer, plain
from gendef.kernels.taps import Taps, taps_of

MIDDLE = (32, 64)
"""Sides of a tile at the higher resolution that may be the best."""
SMALLEST = 16
"""Smallest side of a factor that the units for products take."""
PLANES = 8
"""Maps whose tiles at one place a program makes, one after the other, with the same parts of the matrices."""


def sides_for(dtype: torch.dtype) -> tuple[int, ...]:
    """Those of `MIDDLE` for maps of `dtype`: large tiles of float32 fit neither registers nor most GPUs' memory."""
    return MIDDLE[:1] if dtype == torch.float32 else MIDDLE


def warps_for(side: int) -> int:
    """Groups of 32 threads of a program with tiles of `side`."""
    return 4 if side == MIDDLE[0] else 8


def filtered_leaky_relu(
    x: Tensor, up_matrix: Tensor, down_matrix: Tensor, gain: float, slope: float, clamp: float | None
) -> Tensor:
    """The fast form of `gendef.kernels.filtered_leaky_relu` on a GPU: the plain form or a kernel, by autotuning."""
    own = up_matrix, down_matrix, gain, slope, clamp

    def candidates() -> list[Candidate]:
        layers = [TritonFilter(*own, side) for side in sides_for(x.dtype)]
        return [
            Candidate(f"Triton, tiles of {layer.side}", functools.partial(apply_layer, layer))
            for layer in layers
            if layer.possible
        ]

    products = Candidate("products", lambda x: plain(x, *own))
    kind = f"filtered leaky ReLU by {len(up_matrix)} to {len(down_matrix)}"
    return autotune(kind, products, candidates, x).run(x)


@triton.jit
def _part(matrix, row, column, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """matrix[row : row + ROWS, column : column + COLUMNS] of (rows, columns), zero outside."""
    own_rows = row + tl.arange(0, ROWS)[:, None]
    own_columns = column + tl.arange(0, COLUMNS)[None, :]
    inside = (own_rows < rows) & (own_columns < columns)
    return tl.load(matrix + own_rows * columns + own_columns, mask=inside, other=0.0)


@triton.jit
def _turned(matrix, row, column, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The transpose of `_part`."""
    return tl.trans(_part(matrix, row, column, rows, columns, ROWS, COLUMNS))


@triton.jit
def _resampled(left, x, right, PRECISION: tl.constexpr):
    """left @ x @ right."""
    return tl.dot(tl.dot(left, x, input_precision=PRECISION), right, input_precision=PRECISION)


@triton.jit
def _tile(x, plane, row, column, size, SIDE: tl.constexpr):
    """x[plane, row : row + SIDE, column : column + SIDE] in float32, zero outside."""
    start = x + plane * size * size
    return _part(start, row, column, size, size, SIDE, SIDE).to(tl.float32)


@triton.jit
def _store(y, plane, row, column, size, value, used, SIDE: tl.constexpr):
    """y[plane, row : row + used, column : column + used] = value, as far as that is inside."""
    rows, columns = tl.arange(0, SIDE)[:, None], tl.arange(0, SIDE)[None, :]
    inside = (rows < used) & (columns < used) & (row + rows < size) & (column + columns < size)
    start = y + plane * size * size
    tl.store(start + (row + rows) * size + column + columns, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _starts(starts, down, across, which, COUNT: tl.constexpr):
    """First row and first column of one of the COUNT things that the tile in place (down, across) reads."""
    return tl.load(starts + COUNT * down + which), tl.load(starts + COUNT * across + which)


@triton.jit
def _forward(
    x, y, rise, fall, starts, planes, size, middle, result, tiles, used, gain, slope, clamp,
    IN: tl.constexpr, MIDDLE: tl.constexpr, OUT: tl.constexpr, PLANES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of y (planes, result, result) from x (planes, size, size); `used` of its OUT rows and columns count.

    starts: (tiles, 2), the first row at the higher resolution and the first of x that a tile reads.
    """
    down, across = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    row, column = down * used, across * used
    middle_row, middle_column = _starts(starts, down, across, 0, 2)
    x_row, x_column = _starts(starts, down, across, 1, 2)
    rise_rows = _part(rise, middle_row, x_row, middle, size, MIDDLE, IN)
    rise_columns = _turned(rise, middle_column, x_column, middle, size, MIDDLE, IN)
    fall_rows = _part(fall, row, middle_row, result, middle, OUT, MIDDLE)
    fall_columns = _turned(fall, column, middle_column, result, middle, OUT, MIDDLE)
    first = tl.program_id(1).to(tl.int64) * PLANES  # offsets pass 2^31
    for plane in range(first, tl.minimum(first + PLANES, planes)):
        value = _resampled(rise_rows, _tile(x, plane, x_row, x_column, size, IN), rise_columns, PRECISION) * gain
        value = tl.where(value > 0, value, value * slope)
        # Comparisons, unlike minimum and maximum, let what is not a number through.
        value = tl.where(value > clamp, clamp, tl.where(value < -clamp, -clamp, value))
        value = _resampled(fall_rows, value, fall_columns, PRECISION)
        _store(y, plane, row, column, result, value, used, OUT)


@triton.jit
def _backward(
    x, grad, y, rise, fall, starts, planes, size, middle, result, tiles, used, gain, slope, clamp,
    IN: tl.constexpr, MIDDLE: tl.constexpr, OUT: tl.constexpr, SIDE: tl.constexpr, PLANES: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of y (planes, size, size), the gradient of x, from `grad` (planes, result, result).

    starts: (tiles, 3), the first rows at the higher resolution, of x, and of `grad` that a tile reads.
    """
    down, across = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    row, column = down * used, across * used
    middle_row, middle_column = _starts(starts, down, across, 0, 3)
    x_row, x_column = _starts(starts, down, across, 1, 3)
    grad_row, grad_column = _starts(starts, down, across, 2, 3)
    rise_rows = _part(rise, middle_row, x_row, middle, size, MIDDLE, IN)
    rise_columns = _turned(rise, middle_column, x_column, middle, size, MIDDLE, IN)
    fall_rows = _turned(fall, grad_row, middle_row, result, middle, OUT, MIDDLE)
    fall_columns = _part(fall, grad_column, middle_column, result, middle, OUT, MIDDLE)
    back_rows = _turned(rise, middle_row, row, middle, size, MIDDLE, SIDE)
    back_columns = _part(rise, middle_column, column, middle, size, MIDDLE, SIDE)
    first = tl.program_id(1).to(tl.int64) * PLANES  # offsets pass 2^31
    for plane in range(first, tl.minimum(first + PLANES, planes)):
        before = _resampled(rise_rows, _tile(x, plane, x_row, x_column, size, IN), rise_columns, PRECISION) * gain
        own = _tile(grad, plane, grad_row, grad_column, result, OUT)
        value = _resampled(fall_rows, own, fall_columns, PRECISION) * gain
        value = tl.where(before > 0, value, value * slope)
        after = tl.where(before > 0, before, before * slope)
        value = tl.where((after > clamp) | (after < -clamp), 0.0, value)
        _store(y, plane, row, column, size, _resampled(back_rows, value, back_columns, PRECISION), used, SIDE)


class Tiles(NamedTuple):
    """How a map is divided along an axis.

    Attributes:
        starts: (tiles, 2 or 3), int32, on the device.
        used: rows of a tile of the result.
        sides: of what a tile reads, at the higher resolution first, and of the tile; each a power of two.
    """

    starts: Tensor
    used: int
    sides: tuple[int, ...]


def _span(taps: Taps, first: int, stop: int) -> tuple[int, int]:
    """The columns [low, high) that rows [first, stop) of the taps' matrix read."""
    return int(taps.starts[first]), int(taps.starts[stop - 1]) + len(taps.places)


def _divided(down: Taps, ups: tuple[Taps, ...], side: int, device: torch.device) -> Tiles | None:
    """The largest tiles that need at most `side` rows at the higher resolution; None if not even one row fits.

    Args:
        down: from the higher resolution to the result.
        ups: from what is read to the higher resolution.
    """
    size = len(down.starts)
    for used in range(min(side, size), 0, -1):
        firsts = range(0, size, used)
        spans = [_span(down, first, min(first + used, size)) for first in firsts]
        if max(high - low for low, high in spans) <= side:
            break
    else:
        return None
    reads = [[_span(up, low, high) for low, high in spans] for up in ups]
    starts = [[low for low, _ in own] for own in (spans, *reads)]
    widths = [max(high - low for low, high in own) for own in reads]
    sides = (side, *(max(triton.next_power_of_2(width), SMALLEST) for width in (*widths, used)))
    return Tiles(torch.tensor(starts, dtype=torch.int32, device=device).t().contiguous(), used, sides)


_known = WeakTensorKeyDictionary()


@dataclass(frozen=True)
class TritonFilter:
    """fall @ clamp(leaky ReLU(gain * rise @ x @ rise^T)) @ fall^T for every map of x on a GPU, and its gradient.

    float32 is multiplied with nearly all of its digits (three products of TF32), 16 bits by way of TF32, which has
    more digits than they have. Maps that do not fit the matrices, and sides that are not `possible`, are a ValueError.

    Attributes:
        rise: (M, H), float32, not written to after the first call.
        fall: (O, M), likewise; the same for every filter with this `rise`.
        gain, slope, clamp: see `gendef.kernels.filtered_leaky_relu.plain`.
        side: of a tile at the higher resolution, one of `MIDDLE`.
    """

    rise: Tensor
    fall: Tensor
    gain: float
    slope: float
    clamp: float | None
    side: int

    @property
    def possible(self) -> bool:
        """Whether tiles of this side hold all taps that a result needs."""
        return None not in self._tiles()

    def value(self, x: Tensor) -> Tensor:
        """x (B, C, H, H) -> (B, C, O, O)."""
        tiles, _ = self._tiles()
        return self._through(_forward, [x], len(self.fall), tiles, ("MIDDLE", "IN", "OUT"))

    def gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        """The gradient of x (B, C, H, H) from `grad` (B, C, O, O), that of the value."""
        _, tiles = self._tiles()
        return self._through(_backward, [x, grad.to(x.dtype)], x.shape[-1], tiles, ("MIDDLE", "IN", "OUT", "SIDE"))

    def _tiles(self) -> tuple[Tiles | None, Tiles | None]:
        """Of the value and of the gradient; made once for a layer and a device."""
        made = _known.setdefault(self.rise, {})
        if self.side not in made:
            rise, rise_back = taps_of(self.rise.cpu())
            fall, fall_back = taps_of(self.fall.cpu())
            device = self.rise.device
            made[self.side] = (
                _divided(fall, (rise,), self.side, device),
                _divided(rise_back, (rise, fall_back), self.side, device),
            )
        found: tuple[Tiles | None, Tiles | None] = made[self.side]
        return found

    def _through(
        self, kernel: Any, sources: list[Tensor], size: int, tiles: Tiles | None, names: tuple[str, ...]
    ) -> Tensor:
        """`kernel` of all tiles; `size` is the side of the result, `names` are those of the tiles' sides."""
        if tiles is None:
            raise ValueError(f"no tile of side {self.side} holds what a result needs")
        (high, low), result = self.rise.shape, len(self.fall)
        for source, side in zip(sources, (low, result), strict=False):
            if source.shape[2:] != (side, side) or source.shape[:2] != sources[0].shape[:2]:
                raise ValueError(f"maps of {side}x{side} are needed, got the shape {tuple(source.shape)}")
        sources = [source.contiguous() for source in sources]
        x = sources[0]
        y = x.new_empty(*x.shape[:2], size, size)
        planes, across = x.shape[0] * x.shape[1], len(tiles.starts)
        clamp = float("inf") if self.clamp is None else self.clamp
        with torch.cuda.device_of(x):
            kernel[across * across, triton.cdiv(planes, PLANES)](
                *sources, y, self.rise, self.fall, tiles.starts, planes, low, high, result, across, tiles.used,
                self.gain, self.slope, clamp, **dict(zip(names, tiles.sides, strict=True)), PLANES=PLANES,
                PRECISION="tf32x3" if x.dtype == torch.float32 else "tf32",
                num_warps=warps_for(self.side),
            )  # fmt: skip
        return y
