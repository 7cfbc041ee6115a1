"""Resampling, a pointwise function, resampling back: in blocks, by the bands of the matrices that are not zero.

On a CPU a dense resampling matrix spends most of its products on zeros, and a map at twice the resolution does not
fit the cache. Here a block of rows and columns goes through all steps at once, channels last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

BLOCK_COLUMNS = 32
"""Columns of the intermediate map in a block."""
BLOCK_VALUES = 2**18
"""Values of the intermediate map in a block, about."""


@dataclass(frozen=True)
class Band:
    """Rows [start, stop) of a matrix, which read columns [low, high) only."""

    start: int
    stop: int
    low: int
    high: int
    values: Tensor

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def reads(self) -> slice:
        return slice(self.low, self.high)


def bands(matrix: Tensor, size: int) -> list[Band]:
    """`matrix` in bands of about `size` rows of equal number."""
    total = len(matrix)
    count = max(round(total / size), 1)
    edges = [index * total // count for index in range(count + 1)]
    return [band(matrix, start, stop) for start, stop in pairwise(edges)]


def band(matrix: Tensor, start: int, stop: int) -> Band:
    """Rows [start, stop) of `matrix`."""
    used = (matrix[start:stop] != 0).any(dim=0).nonzero()
    low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
    return Band(start, stop, low, high, matrix[start:stop, low:high].contiguous())


def resample_region(x: Tensor, rows: Band, columns: Band) -> Tensor:
    """A region of the resampled map: x (H, W, C) -> (rows, columns, C), new memory."""
    source = x[rows.reads, columns.reads]
    wide = torch.matmul(columns.values, source)
    return (rows.values @ wide.view(len(wide), -1)).view(-1, *wide.shape[1:])


def through(x: Tensor, forth: Tensor, back: Tensor, function: Callable[[Tensor, int, Band, Band], Tensor]) -> Tensor:
    """back @ function(forth @ x @ forth^T) @ back^T for every map of x (N, C, H, W).

    Args:
        forth: (M, H); H = W.
        back: (O, M).
        function: of a region (rows, columns, C) of the intermediate map, the sample's index, and the bands of `forth`
            that made it; pointwise, may overwrite the region.

    Returns:
        (N, C, O, O), channels last in memory.
    """
    batch, channels = x.shape[:2]
    middle, size = len(forth), len(back)
    x = x.permute(0, 2, 3, 1)
    y = torch.empty(batch, channels, size, size, dtype=x.dtype, memory_format=torch.channels_last)
    maps = y.permute(0, 2, 3, 1)
    columns = bands(forth, BLOCK_COLUMNS)
    rows = bands(back, max(BLOCK_VALUES * size // (BLOCK_COLUMNS * channels * middle), 8))
    regions = [(low, band(forth, low.low, low.high)) for low in rows]
    out_columns = bands(back, max(BLOCK_COLUMNS * size // middle, 8))
    for index in range(batch):
        for low, high in regions:
            lowered = x.new_empty(low.stop - low.start, middle * channels)
            for column in columns:
                part = function(resample_region(x[index], high, column), index, high, column)
                place = lowered[:, column.start * channels : column.stop * channels]
                torch.mm(low.values, part.view(len(part), -1), out=place)
            for column in out_columns:
                source = lowered.view(len(lowered), middle, channels)[:, column.reads]
                maps[index, low.rows, column.rows] = torch.matmul(column.values, source)
    return y
