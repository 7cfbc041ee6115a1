"""Frechet distance of two sets of features, each modelled as a Gaussian (Heusel et al. 2017).

FID is this distance on features of single frames, FVD (Unterthiner et al. 2018) on features of clips.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gendef.errors import InputError


class GaussianStatistics:
    """Mean and covariance of features that come in blocks, in float64; memory does not grow with their number.

    Args:
        dimension: length of a feature vector.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    @classmethod
    def of(cls, features: Any) -> "GaussianStatistics":
        """Statistics of all rows of (N, D)."""
        block = checked_features(features)
        statistics = cls(block.shape[1])
        statistics.update(block)
        return statistics

    def update(self, features: Any) -> None:
        """Add the rows of (n, D).

        Raises:
            InputError: another width, or a value that is not finite.
        """
        block = checked_features(features, self.dimension)
        if not len(block):
            return
        # Chan et al. 1979: sums about each block's own mean, so that large means do not cancel digits.
        centre = block.mean(axis=0)
        centred = block - centre
        shift = centre - self.mean
        total = self.count + len(block)
        self._scatter += centred.T @ centred + np.outer(shift, shift) * (self.count * len(block) / total)
        self.mean = self.mean + shift * (len(block) / total)
        self.count = total

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return len(self.mean)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance (D, D).

        Raises:
            InputError: fewer than two vectors.
        """
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 feature vectors, got {self.count}")
        return self._scatter / (self.count - 1)

    @property
    def full_rank(self) -> bool:
        """Whether there are enough vectors for the covariance to have an inverse: more than dimensions."""
        return self.count > self.dimension


@dataclass(frozen=True)
class FrechetDistance:
    """The squared distance and its two parts.

    Attributes:
        value: `mean_part + covariance_part`.
        mean_part: squared distance of the means.
        covariance_part: trace of S1 + S2 - 2 (S1 S2)^(1/2).
        trustworthy: whether both covariances have full rank. If not, the value depends mainly on the number of samples
            and cannot be compared with others.
    """

    value: float
    mean_part: float
    covariance_part: float
    trustworthy: bool


def frechet_distance(first: GaussianStatistics, second: GaussianStatistics) -> FrechetDistance:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Heusel et al. 2017, equation 6).

    Raises:
        InputError: the features differ in length, or a side has fewer than two.
    """
    if first.dimension != second.dimension:
        raise InputError(f"features must have one length, got {first.dimension} and {second.dimension}")
    mean_part = float(((first.mean - second.mean) ** 2).sum())
    one, other = first.covariance, second.covariance
    spread = float(np.trace(one) + np.trace(other) - 2 * trace_sqrt_product(one, other))
    return FrechetDistance(mean_part + spread, mean_part, spread, first.full_rank and second.full_rank)


def trace_sqrt_product(first: np.ndarray, second: np.ndarray) -> float:
    """tr((S1 S2)^(1/2)) of two covariances (D, D).

    With S = L L^T from the eigenvalues of each, it is the sum of the singular values of L1^T L2. Nothing is squared on
    the way, so that singular covariances lose no digits, as they do in a general matrix square root.
    """
    return float(np.linalg.svd(_root(first).T @ _root(second), compute_uv=False).sum())


def _root(covariance: np.ndarray) -> np.ndarray:
    """L with L L^T = covariance, (D, D); eigenvalues below the rounding error count as zero."""
    values, vectors = np.linalg.eigh(covariance)
    noise = len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors * np.sqrt(np.where(values > noise, values, 0))


def checked_features(features: Any, dimension: int | None = None) -> np.ndarray:
    """Features as float64 (N, D).

    Raises:
        InputError: not two-dimensional, of another width, or not finite.
    """
    rows = np.asarray(features.detach().cpu() if hasattr(features, "detach") else features, np.float64)
    if rows.ndim != 2 or rows.shape[1] == 0 or (dimension is not None and rows.shape[1] != dimension):
        raise InputError(f"features must be (N, {dimension or 'D'}), got {rows.shape}")
    if not np.isfinite(rows).all():
        raise InputError("features hold values that are not finite; look for damaged frames or weights")
    return rows
