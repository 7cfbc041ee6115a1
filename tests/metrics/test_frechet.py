"""The Frechet distance against closed forms and a float64 eigenvalue reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendef.errors import InputError
from gendef.metrics.frechet import GaussianStatistics, frechet_distance, trace_sqrt_product


def statistics(mean, covariance, count=10**6):
    """Statistics of an exact Gaussian."""
    made = GaussianStatistics(len(mean))
    made.count, made.mean = count, np.asarray(mean, float)
    made._scatter = np.asarray(covariance, float) * (count - 1)
    return made


class TestStatistics:
    def test_blocks_give_what_numpy_gives(self):
        # A large mean: summing squares would lose seven digits here.
        rows = np.random.default_rng(0).normal(1e7, 1, (101, 5))
        made = GaussianStatistics(5)
        for block in np.split(rows, [1, 3, 50]):
            made.update(torch.from_numpy(block))
        np.testing.assert_allclose(made.mean, rows.mean(0), rtol=1e-14)
        np.testing.assert_allclose(made.covariance, np.cov(rows, rowvar=False), atol=1e-7)
        assert made.count == 101 and made.full_rank

    def test_few_samples_are_known_as_rank_deficient(self):
        rows = np.random.default_rng(0).normal(size=(5, 5))
        made = GaussianStatistics.of(rows)
        assert not made.full_rank and np.linalg.matrix_rank(made.covariance) == 4
        assert GaussianStatistics.of(np.random.default_rng(0).normal(size=(6, 5))).full_rank

    def test_mistakes(self):
        made = GaussianStatistics(3)
        with pytest.raises(InputError, match=r"\(N, 3\), got \(2, 4\)"):
            made.update(np.zeros((2, 4)))
        with pytest.raises(InputError, match="not finite"):
            made.update(np.full((2, 3), np.nan))
        made.update(np.zeros((1, 3)))
        with pytest.raises(InputError, match="at least 2 feature vectors, got 1"):
            _ = made.covariance


class TestDistance:
    def test_one_dimension(self):
        # (m1 - m2)^2 + (s1 - s2)^2
        found = frechet_distance(statistics([1], [[4]]), statistics([4], [[25]]))
        assert found.value == pytest.approx(9 + 9)
        assert (found.mean_part, found.covariance_part) == (pytest.approx(9), pytest.approx(9))

    def test_commuting_covariances(self):
        # Rotated together, diagonal in one basis: the sum over the axes of (s1 - s2)^2.
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
        first, second = np.array([1.0, 2, 3, 0]), np.array([2.0, 2, 1, 5])
        found = frechet_distance(
            statistics(np.zeros(4), turn * first**2 @ turn.T), statistics(np.ones(4), turn * second**2 @ turn.T)
        )
        assert found.value == pytest.approx(4 + ((first - second) ** 2).sum(), rel=1e-12)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 2**31), st.integers(1, 12), st.integers(2, 40), st.integers(2, 40))
    def test_agrees_with_the_eigenvalues_of_the_product(self, seed, dimension, n, m):
        rng = np.random.default_rng(seed)
        mixing = rng.normal(size=(dimension, dimension))
        first, second = rng.normal(size=(n, dimension)), rng.normal(1, 2, size=(m, dimension)) @ mixing
        one, other = np.atleast_2d(np.cov(first, rowvar=False)), np.atleast_2d(np.cov(second, rowvar=False))
        eigenvalues = np.linalg.eigvals(one @ other)
        trace = np.sqrt(eigenvalues.real.clip(min=0)).sum()
        scale = np.trace(one) + np.trace(other)
        assert trace_sqrt_product(one, other) == pytest.approx(trace, abs=1e-6 * scale)
        expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + scale - 2 * trace
        found = frechet_distance(GaussianStatistics.of(first), GaussianStatistics.of(second))
        assert found.value == pytest.approx(expected, abs=1e-5 * scale)
        assert found.trustworthy == (min(n, m) > dimension)

    @pytest.mark.parametrize("count", [3, 30, 300])
    def test_the_same_features_give_zero(self, count):
        rows = np.random.default_rng(0).normal(size=(count, 40)) * 7 + 5
        made = GaussianStatistics.of(rows)
        found = frechet_distance(made, GaussianStatistics.of(rows[::-1]))
        assert abs(found.value) < 1e-9 * np.trace(made.covariance)

    def test_lengths_must_agree(self):
        with pytest.raises(InputError, match="got 2 and 3"):
            frechet_distance(statistics([0, 0], np.eye(2)), statistics([0, 0, 0], np.eye(3)))
