"""The loops of the filtered leaky ReLU, compiled: a row of the map at the higher resolution at a time.

What the taps read above and below that row is kept in rings of K rows, in a scratch memory that fits one core's cache.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from gendef.kernels.cpu.simd import (
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
from gendef.kernels.taps import Taps

PREFETCH_COLUMNS = 8
"""Columns between the one that is written and the one whose memory is fetched ahead: pixels lie too far apart for the
processor to foresee it. Not tuned."""


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


@compiled
def reads(taps: Taps, first: int, stop: int) -> tuple[int, int]:
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
                prefetch(y.values, start + PREFETCH_COLUMNS * y.channels + index * width)
                vector = weighted_sum(scratch, ring + (column * count + index) * places * width, width, weights)
                store(y.values, start + index * width, vector)
        done += 1
    return done


@compiled
def forward(
    x: Map, y: Map, rise: Taps, fall: Taps, first: int, stop: int, slope: float, clamp: float, scratch: Any, group: Any
) -> None:
    """Columns [first, stop) of `y`, of some vectors of channels, as many as `group` has values."""
    width, count = lanes_of(x.values), len(group)
    low, high = reads(fall, first, stop)
    columns = reads(rise, low, high)
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
def backward(
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
    low, high = reads(rise_back, first, stop)
    columns, grad_columns = reads(rise, low, high), reads(fall_back, low, high)
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
