"""Unbiased polynomial kernel distance of two sets of features (Binkowski et al., ICLR 2018, section 3 and 4).

On features of single frames it is the KID, on features of clips the KVD. Its expectation does not depend on the
number of samples, which makes it the distance for small sets; of two samples of one distribution it is 0 on average,
and may be negative.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gendef.errors import InputError
from gendef.metrics.frechet import checked_features

SUBSETS = 100
SUBSET_SIZE = 1000
MAX_PAIRS = 5000**2
"""Up to this many pairs the distance is taken over all of them."""


@dataclass(frozen=True)
class KernelDistance:
    """The distance and its uncertainty.

    Attributes:
        value: squared maximum mean discrepancy, unbiased; of all samples, or where those are very many the mean over
            the subsets.
        spread: standard deviation over random subsets. Subsets are halves, or of 1000 samples if that is less; over
            halves it is about the standard error of `value`.
        subsets: how many.
        subset_size: samples of each side in a subset; 0 when there are too few for subsets, and no spread (NaN).
    """

    value: float
    spread: float
    subsets: int
    subset_size: int


def kernel_distance(
    first: Any, second: Any, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> KernelDistance:
    """Distance of features (N, D) and (M, D), kernel (x.y / D + 1)^3.

    Args:
        subsets, subset_size: number and size of the random subsets for the spread.
        seed: of the subsets.

    Raises:
        InputError: lengths differ, values are not finite, or a side has fewer than two samples.
    """
    one = checked_features(first)
    other = checked_features(second, one.shape[1])
    fewest = min(len(one), len(other))
    if fewest < 2:
        raise InputError(f"the kernel distance needs at least 2 samples on each side, got {fewest}")
    if subsets < 2 or subset_size < 2:
        raise InputError(f"subsets must be at least 2, of at least 2 samples, got {subsets} of {subset_size}")
    size = min(subset_size, fewest // 2)
    found = []
    if size >= 2:
        rng = np.random.default_rng(seed)
        for _ in range(subsets):
            rows = rng.choice(len(one), size, replace=False)
            columns = rng.choice(len(other), size, replace=False)
            found.append(squared_mmd(one[rows], other[columns]))
    spread = float(np.std(found, ddof=1)) if found else float("nan")
    value = squared_mmd(one, other) if max(len(one), len(other)) ** 2 <= MAX_PAIRS else float(np.mean(found))
    return KernelDistance(value, spread, len(found), size if found else 0)


def squared_mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of (N, D) and (M, D) for the kernel (x.y / D + 1)^3."""
    n, m, dimension = len(first), len(second), first.shape[1]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        base = a @ b.T / dimension + 1
        return base * base * base  # several times as fast as a power

    within_first, within_second = kernel(first, first), kernel(second, second)
    # Pairs of a sample with itself are left out, which makes the estimate unbiased.
    own = (within_first.sum() - np.trace(within_first)) / (n * (n - 1))
    others = (within_second.sum() - np.trace(within_second)) / (m * (m - 1))
    return float(own + others - 2 * kernel(first, second).mean())
