"""Matrices with few neighbouring values in a row, such as those of FIR filters, stored without their zeros."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


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


_known = WeakTensorKeyDictionary()


def taps_of(matrix: Tensor) -> tuple[Taps, Taps]:
    """Taps of `matrix` (rows, columns) and of its transpose; made once, so `matrix` must not be written to later."""
    if matrix not in _known:
        values = matrix.detach().to(torch.promote_types(matrix.dtype, torch.float32)).numpy()
        _known[matrix] = Taps.of(values), Taps.of(values.T)
    found: tuple[Taps, Taps] = _known[matrix]
    return found
