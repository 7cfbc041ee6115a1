"""Resampling, leaky ReLU and resampling back, with its gradient, on a CPU: compiled loops over the few taps of a row.

A piece of the work is one sample, a few vectors of its channels, and some of the columns. It goes down the map at the
higher resolution, of which there is never more than one row; what the taps read above and below that row is in rings
of K rows. All of it fits the cache of one core.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gendef.kernels.cpu.buffers import empty_map, readable, rows_of, workspace
from gendef.kernels.cpu.simd import (
    VECTOR_BYTES,
    compiled,
    lanes_of,
    largest,
    load,
    prefetch,
    smallest,
    spread,
    store,
    weighted_sum,
    where_greater,
)
from gendef.kernels.cpu.threads import for_each, useful_threads

SCRATCH_BYTES = 3 * 2**18
"""Most memory of a piece, about, for the second-level cache."""
GROUPS = (4, 2, 1)
"""Vectors of channels in a piece: the first number that the channels suffice for."""
AHEAD = 8
"""Columns from the one that is written to the one whose memory is asked for: pixels lie too far apart for the processor
to foresee it."""


class Taps(NamedTuple):
    """A matrix whose rows have few values that are not zero, all of them side by side.

    Attributes:
        starts: (rows,), the first column that a row reads; never decreases.
        weights: (rows * K,), a row's values from there on.
        turned: (rows * K,), the same, with the value of column c in place c % K, as in a ring of K columns.
        places: K zeros; compiled code has K as a constant, from the type.
    """

    starts: NDArray[np.int64]
    weights: NDArray[Any]
    turned: NDArray[Any]
    places: tuple[int, ...]

    @classmethod
    def of(cls, matrix: NDArray[Any]) -> "Taps":
        """Those of `matrix` (rows, columns)."""
        columns = matrix.shape[1]
        used = matrix != 0
        some = used.any(axis=1)
        # A row of zeros may read anything: what the next one does.
        first = np.minimum.accumulate(np.where(some, used.argmax(axis=1), columns)[::-1])[::-1]
        stop = np.where(some, columns - used[:, ::-1].argmax(axis=1), 0)
        count = max(int((stop - first).max()), 1)
        starts = np.minimum(first, columns - count).astype(np.int64)
        reads = starts[:, None] + np.arange(count)
        weights = np.take_along_axis(matrix, reads, axis=1)
        turned = np.empty_like(weights)
        np.put_along_axis(turned, reads % count, weights, axis=1)
        return cls(starts, weights.reshape(-1), turned.reshape(-1), (0,) * count)

    def scaled(self, factor: float, dtype: np.dtype[Any]) -> "Taps":
        """Those of the matrix times `factor`, in `dtype`."""
        weights, turned = ((values * factor).astype(dtype) for values in (self.weights, self.turned))
        return self._replace(weights=weights, turned=turned)


class Map(NamedTuple):
    """Some channels of one sample of a batch of square maps, channels last.

    Attributes:
        values: (B * size * size * channels,), the whole batch.
        start: index of the first of the channels in the sample's first pixel.
        size: side of the maps.
        channels: of a pixel.
    """

    values: NDArray[Any]
    start: int
    size: int
    channels: int


_known = WeakTensorKeyDictionary()


def taps_of(matrix: Tensor) -> tuple[Taps, Taps]:
    """Taps of `matrix` (rows, columns) and of its transpose; made once, so `matrix` must not be written to later."""
    if matrix not in _known:
        values = matrix.detach().to(torch.promote_types(matrix.dtype, torch.float32)).numpy()
        _known[matrix] = Taps.of(values), Taps.of(values.T)
    found: tuple[Taps, Taps] = _known[matrix]
    return found


@compiled
def _reads(taps: Taps, first: int, stop: int) -> tuple[int, int]:
    """The columns [low, high) that rows [first, stop) read."""
    return taps.starts[first], taps.starts[stop - 1] + len(taps.places)


@compiled
def _upsampled(x: Map, taps: Taps, row: int, known: int, columns: Any, scratch: Any, at: int, group: Any) -> int:
    """Columns [low, high) of row `row` of the map that is upsampled along its columns, to scratch[at:].

    The ring of rows of x follows in `scratch`, each pixel's K values side by side.

    Returns:
        How many rows of x were read so far; before, `known`.
    """
    width, count, places = lanes_of(x.values), len(group), len(taps.places)
    low, high = columns
    ring = at + (high - low) * count * width
    while known < taps.starts[row] + places:
        start = x.start + (known * x.size + low) * x.channels
        to = ring + known % places * width
        for column in range(high - low):
            for index in range(count):
                vector = load(x.values, start + column * x.channels + index * width)
                store(scratch, to + (column * count + index) * places * width, vector)
        known += 1
    weights = spread(taps.turned, row * places, taps.places)
    for index in range((high - low) * count):
        store(scratch, at + index * width, weighted_sum(scratch, ring + index * places * width, width, weights))
    return known


@compiled
def _downsampled(
    scratch: Any, row: int, low: int, taps: Taps, first: int, stop: int, y: Map, done: int, ring: int, group: Any
) -> int:
    """Columns [first, stop) of the rows of y that are complete with row `row`, in `scratch` from column `low` on.

    The ring of rows that are downsampled along the other axis is at scratch[ring:].

    Returns:
        How many rows of y are complete; before, `done`.
    """
    width, count, places = lanes_of(y.values), len(group), len(taps.places)
    to = ring + row % places * width
    for column in range(first, stop):
        weights = spread(taps.weights, column * places, taps.places)
        start = (taps.starts[column] - low) * count * width
        for index in range(count):
            vector = weighted_sum(scratch, start + index * width, count * width, weights)
            store(scratch, to + ((column - first) * count + index) * places * width, vector)
    while done < y.size and taps.starts[done] + places <= row + 1:
        weights = spread(taps.turned, done * places, taps.places)
        for column in range(stop - first):
            start = y.start + (done * y.size + first + column) * y.channels
            for index in range(count):
                prefetch(y.values, start + AHEAD * y.channels + index * width)
                vector = weighted_sum(scratch, ring + (column * count + index) * places * width, width, weights)
                store(y.values, start + index * width, vector)
        done += 1
    return done


@compiled
def _forward(
    x: Map, y: Map, rise: Taps, fall: Taps, first: int, stop: int, slope: float, clamp: float, scratch: Any, group: Any
) -> None:
    """Columns [first, stop) of `y`, of some vectors of channels, as many as `group` has values."""
    width, count = lanes_of(x.values), len(group)
    low, high = _reads(fall, first, stop)
    columns = _reads(rise, low, high)
    line = (high - low) * count * width
    ring = line + (columns[1] - columns[0]) * count * width * (len(rise.places) + 1)
    known = done = 0
    for row in range(len(rise.starts)):
        known = _upsampled(x, rise, row, known, columns, scratch, line, group)
        for column in range(low, high):
            weights = spread(rise.weights, column * len(rise.places), rise.places)
            start = line + (rise.starts[column] - columns[0]) * count * width
            for index in range(count):
                vector = weighted_sum(scratch, start + index * width, count * width, weights)
                vector = where_greater(vector, 0.0, vector, vector * slope)
                vector = largest(-clamp, smallest(clamp, vector))
                store(scratch, ((column - low) * count + index) * width, vector)
        done = _downsampled(scratch, row, low, fall, first, stop, y, done, ring, group)


@compiled
def _backward(
    x: Map,
    grad: Map,
    result: Map,
    rise: Taps,
    fall_back: Taps,
    rise_back: Taps,
    first: int,
    stop: int,
    slope: float,
    clamp: float,
    scratch: Any,
    group: Any,
) -> None:
    """Columns [first, stop) of `result`, the gradient of x, from `grad`, that of y; taps of rise, fall^T and rise^T."""
    width, count = lanes_of(x.values), len(group)
    low, high = _reads(rise_back, first, stop)
    columns, grad_columns = _reads(rise, low, high), _reads(fall_back, low, high)
    line = (high - low) * count * width
    grad_line = line + (columns[1] - columns[0]) * count * width * (len(rise.places) + 1)
    ring = grad_line + (grad_columns[1] - grad_columns[0]) * count * width * (len(fall_back.places) + 1)
    known = grad_known = done = 0
    for row in range(len(rise.starts)):
        known = _upsampled(x, rise, row, known, columns, scratch, line, group)
        grad_known = _upsampled(grad, fall_back, row, grad_known, grad_columns, scratch, grad_line, group)
        for column in range(low, high):
            weights = spread(rise.weights, column * len(rise.places), rise.places)
            start = line + (rise.starts[column] - columns[0]) * count * width
            grad_weights = spread(fall_back.weights, column * len(fall_back.places), fall_back.places)
            grad_start = grad_line + (fall_back.starts[column] - grad_columns[0]) * count * width
            for index in range(count):
                before = weighted_sum(scratch, start + index * width, count * width, weights)
                vector = weighted_sum(scratch, grad_start + index * width, count * width, grad_weights)
                vector = where_greater(before, 0.0, vector, vector * slope)
                after = where_greater(before, 0.0, before, before * slope)
                vector = where_greater(after, clamp, 0.0, where_greater(-clamp, after, 0.0, vector))
                store(scratch, ((column - low) * count + index) * width, vector)
        done = _downsampled(scratch, row, low, rise_back, first, stop, result, done, ring, group)


@dataclass(frozen=True)
class FilteredActivation:
    """fall @ clamp(leaky ReLU(gain * rise @ x @ rise^T)) @ fall^T for every map of x, and its gradient.

    Attributes:
        rise: (M, H), not written to after the first call.
        fall: (O, M), likewise.
        gain: positive.
        slope: of the leaky ReLU.
        clamp: bound on the absolute value.
    """

    rise: Tensor
    fall: Tensor
    gain: float
    slope: float
    clamp: float | None

    def value(self, x: Tensor) -> Tensor:
        """x (B, C, H, H), with `has_vectors` -> (B, C, O, O), channels last in memory."""
        (rise, _), (fall, _) = taps_of(self.rise), taps_of(self.fall)
        return self._through(_forward, [x], [(rise, self._part), (fall, 1.0)])

    def gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        """The gradient of x (B, C, H, H), channels last in memory, from `grad` (B, C, O, O), that of the value."""
        (rise, rise_back), (_, fall_back) = taps_of(self.rise), taps_of(self.fall)
        return self._through(_backward, [x, grad], [(rise, self._part), (fall_back, 1.0), (rise_back, self._part)])

    @property
    def _part(self) -> float:
        """What the gain is for one axis: before the leaky ReLU, in the taps, it costs nothing."""
        return self.gain**0.5

    def _through(
        self, kernel: Callable[..., Any], sources: Sequence[Tensor], factors: Sequence[tuple[Taps, float]]
    ) -> Tensor:
        """`kernel` of all pieces; the taps are of the ways up from the sources and of the way down."""
        for source, size in zip(sources, (self.rise.shape[1], len(self.fall)), strict=False):
            if source.shape[2:] != (size, size) or source.shape[:2] != sources[0].shape[:2]:
                raise ValueError(f"maps of {size}x{size} are needed, got the shape {tuple(source.shape)}")
        dtype = _computed(sources[0])
        inputs = [rows_of(source.to(dtype)).view(-1).numpy() for source in sources]
        batch, channels = sources[0].shape[:2]
        *ups, down = (matrix.scaled(factor, inputs[0].dtype) for matrix, factor in factors)
        size = len(down.starts)
        y = empty_map(batch, channels, size, size, dtype)
        result = rows_of(y).view(-1).numpy()
        width = _width(sources[0])
        count = next(count for count in GROUPS if count * width <= channels)
        group = (0,) * count
        clamp = float("inf") if self.clamp is None else self.clamp

        sides = [*(source.shape[-1] for source in sources), size]

        def work(piece: tuple[int, int, int, int]) -> None:
            sample, channel, first, stop = piece
            maps = [
                Map(values, sample * side * side * channels + channel, side, channels)
                for values, side in zip((*inputs, result), sides, strict=True)
            ]
            scratch = workspace("filtered", y, _room(ups, down, first, stop) * count * width).numpy()
            kernel(*maps, *ups, down, first, stop, self.slope, clamp, scratch, group)

        tiles = _tiles(ups, down, SCRATCH_BYTES // (count * VECTOR_BYTES))
        # The last vectors may have channels of those before, too: both write the same.
        starts = [min(channel, channels - count * width) for channel in range(0, channels, count * width)]
        pieces = [(sample, start, *tile) for sample in range(batch) for start in starts for tile in tiles]
        for_each(work, pieces, useful_threads(150 * max(x.numel() for x in (*sources, y))))
        return y.to(sources[0].dtype)


def has_vectors(x: Tensor) -> bool:
    """Whether the loops can read x (B, C, H, W), which has at least as many channels as a vector."""
    return readable(x) and x.shape[1] >= _width(x)


def _computed(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _width(x: Tensor) -> int:
    return VECTOR_BYTES // _computed(x).itemsize


def _room(ups: Sequence[Taps], down: Taps, first: int, stop: int) -> int:
    """What a piece of columns [first, stop) keeps, in vectors per vector of channels."""
    low, high = _reads(down, first, stop)
    spans = [(_reads(up, low, high), len(up.places)) for up in ups]
    rings = sum((right - left) * (places + 1) for (left, right), places in spans)
    return high - low + rings + (stop - first) * len(down.places)


def _tiles(ups: Sequence[Taps], down: Taps, room: int) -> list[tuple[int, int]]:
    """The columns in as few parts as leave each with `room`, but no part narrower than the taps, about."""
    size = len(down.starts)
    most = max(size // len(down.places), 1)
    for count in range(1, most + 1):
        tiles = list(pairwise(index * size // count for index in range(count + 1)))
        if max(_room(ups, down, *tile) for tile in tiles) <= room:
            break
    return tiles
