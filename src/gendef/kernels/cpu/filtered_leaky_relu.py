"""The filtered leaky ReLU and its gradient on a CPU, by compiled loops over the few taps of a row.

A piece of the work is one sample, a few vectors of its channels, and some of the columns. It goes down the map at the
higher resolution, of which it holds one row at a time; see `filtered_leaky_relu_loops`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gendef.kernels.buffers import VECTOR_BYTES, empty_map, rows_of, workspace
from gendef.kernels.cpu import filtered_leaky_relu_loops as loops
from gendef.kernels.cpu.threads import for_each, useful_threads
from gendef.kernels.filtered_leaky_relu import apply_layer
from gendef.kernels.taps import Taps, taps_of

SCRATCH_BYTES = 3 * 2**18
"""Most memory of a piece, about: three quarters of a second-level cache of 1 MB."""
GROUPS = (4, 2, 1)
"""Vectors of channels in a piece: the first number that the channels suffice for."""


def filtered_leaky_relu(
    x: Tensor, up_matrix: Tensor, down_matrix: Tensor, gain: float, slope: float, clamp: float | None
) -> Tensor:
    """The fast form of `gendef.kernels.filtered_leaky_relu`, differentiable once."""
    return apply_layer(FilteredActivation(up_matrix, down_matrix, gain, slope, clamp), x)


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
        return self._through(loops.forward, [x], [(rise, self._part), (fall, 1.0)])

    def gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        """The gradient of x (B, C, H, H), channels last in memory, from `grad` (B, C, O, O), that of the value."""
        (rise, rise_back), (_, fall_back) = taps_of(self.rise), taps_of(self.fall)
        return self._through(loops.backward, [x, grad], [(rise, self._part), (fall_back, 1.0), (rise_back, self._part)])

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
                loops.Map(values, sample * side * side * channels + channel, side, channels)
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


def _computed(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _width(x: Tensor) -> int:
    return VECTOR_BYTES // _computed(x).itemsize


def _room(ups: Sequence[Taps], down: Taps, first: int, stop: int) -> int:
    """What a piece of columns [first, stop) keeps, in vectors per vector of channels."""
    low, high = loops.reads(down, first, stop)
    spans = [(loops.reads(up, low, high), len(up.places)) for up in ups]
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
