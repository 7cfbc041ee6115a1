"""The kernel distance against sums written out."""

import numpy as np
import pytest

from gendef.errors import InputError
from gendef.metrics import kernel_distance as kernel
from gendef.metrics.kernel_distance import kernel_distance, squared_mmd


def test_written_out():
    first, second = np.array([[1.0, 2], [3, 4], [0, 1]]), np.array([[2.0, 0], [1, 1]])

    def k(a, b):
        return (a @ b / 2 + 1) ** 3

    own = sum(k(a, b) for i, a in enumerate(first) for j, b in enumerate(first) if i != j) / 6
    others = 2 * k(second[0], second[1]) / 2
    across = sum(k(a, b) for a in first for b in second) / 6
    assert squared_mmd(first, second) == pytest.approx(own + others - 2 * across, rel=1e-12)
    assert kernel_distance(first, second).value == pytest.approx(own + others - 2 * across, rel=1e-12)


def test_unbiased():
    # Over many draws from one distribution the mean is 0, whatever the number of samples; the biased estimate's is not.
    rng = np.random.default_rng(0)
    found = [squared_mmd(*rng.normal(size=(2, 6, 3))) for _ in range(4000)]
    assert abs(np.mean(found)) < 4 * np.std(found) / len(found) ** 0.5
    assert min(found) < 0 < max(found)


def test_spread_over_halves_is_the_error():
    rng = np.random.default_rng(1)
    draws = [(rng.normal(size=(40, 3)), rng.normal(0.7, 1, size=(40, 3))) for _ in range(200)]
    errors = [kernel_distance(a, b).spread for a, b in draws[:20]]
    truth = np.std([squared_mmd(a, b) for a, b in draws])
    assert 0.6 * truth < np.mean(errors) < 1.6 * truth


def test_very_many_samples_are_taken_in_subsets(monkeypatch):
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(60, 4)), rng.normal(0.5, 1, size=(60, 4))
    whole = kernel_distance(first, second, subset_size=20)
    monkeypatch.setattr(kernel, "MAX_PAIRS", 100)
    parts = kernel_distance(first, second, subset_size=20)
    assert parts.value != whole.value
    assert abs(parts.value - whole.value) < 4 * parts.spread / parts.subsets**0.5
    assert (parts.subsets, parts.subset_size) == (100, 20)


def test_too_few_for_a_spread():
    found = kernel_distance(np.eye(3), np.eye(3))
    assert np.isnan(found.spread) and found.subset_size == 0


def test_mistakes():
    with pytest.raises(InputError, match="at least 2 samples on each side, got 1"):
        kernel_distance(np.ones((1, 3)), np.ones((4, 3)))
    with pytest.raises(InputError, match=r"\(N, 3\), got \(4, 2\)"):
        kernel_distance(np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(InputError, match="got 1 of 1000"):
        kernel_distance(np.ones((4, 3)), np.ones((4, 3)), subsets=1)
