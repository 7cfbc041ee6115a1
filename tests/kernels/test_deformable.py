"""Deformable convolution against explicit loops, by both forms of sampling."""

import math
from contextlib import nullcontext

import pytest
import torch

from gendef.kernels import autotune
from gendef.kernels.deformable import deformable_columns, gathered, grid_sampled, tap_major, tap_positions
from gendef.kernels.registry import plain_forms


def brute_deformable(x, offsets, masks, weight, padding):
    """Deformable convolution v2 with explicit loops."""
    batch, channels, height, width = x.shape
    kernel = weight.shape[-1]
    out = torch.zeros(batch, weight.shape[0], *masks.shape[2:], dtype=x.dtype)

    def pixel(b, c, row, column):
        return x[b, c, row, column] if 0 <= row < height and 0 <= column < width else x.new_zeros(())

    for b in range(batch):
        for i in range(masks.shape[2]):
            for j in range(masks.shape[3]):
                for tap in range(kernel**2):
                    row = i - padding + tap // kernel + offsets[b, 2 * tap, i, j]
                    column = j - padding + tap % kernel + offsets[b, 2 * tap + 1, i, j]
                    top, left = math.floor(row), math.floor(column)
                    dy, dx = row - top, column - left
                    for c in range(channels):
                        value = (
                            pixel(b, c, top, left) * (1 - dy) * (1 - dx)
                            + pixel(b, c, top, left + 1) * (1 - dy) * dx
                            + pixel(b, c, top + 1, left) * dy * (1 - dx)
                            + pixel(b, c, top + 1, left + 1) * dy * dx
                        )
                        scale = weight[:, c, tap // kernel, tap % kernel] * masks[b, tap, i, j]
                        out[b, :, i, j] += scale * value
    return out


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (3, 2)])
def test_columns_times_weights_equal_brute_force(plain, kernel, padding):
    torch.manual_seed(0)
    side = 4 + 2 * padding - kernel + 1
    x, weight = torch.randn(2, 2, 4, 4).double(), torch.randn(3, 2, kernel, kernel).double()
    offsets = torch.randn(2, 2 * kernel**2, side, side).double()
    masks = torch.rand(2, kernel**2, side, side).double()
    with plain_forms("deformable_columns") if plain else nullcontext():
        columns = deformable_columns(x, offsets, masks, kernel, padding)
    result = (columns @ tap_major(weight)).permute(0, 2, 1).reshape(2, 3, side, side)
    torch.testing.assert_close(result, brute_deformable(x, offsets, masks, weight, padding))


def test_both_forms_have_the_same_gradients():
    torch.manual_seed(0)
    x, y, column = torch.randn(2, 3, 5, 6).double(), torch.rand(2, 4, 3, 3).double(), torch.rand(2, 4, 3, 3).double()
    inputs = [t.requires_grad_() for t in (x, y * 8 - 2, column * 8 - 2, torch.rand(2, 4, 3, 3).double())]
    first, second = gathered(*inputs), grid_sampled(*inputs)
    torch.testing.assert_close(first, second)
    seed = torch.randn_like(first)
    for one, other in zip(
        torch.autograd.grad(first, inputs, seed), torch.autograd.grad(second, inputs, seed), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.fixture
def gpu(monkeypatch):
    """The form for GPUs with `gathered` in its kernel's place, and given times: milliseconds by candidate."""
    pytest.importorskip("triton", reason="kernels for GPUs are written in Triton, which is not installed")
    from gendef.kernels.triton import deformable as module

    given = {"grid_sample": 2.0, "Triton": 1.0}
    monkeypatch.setattr(autotune, "_trials", {})
    autotune._warn.cache_clear()
    monkeypatch.setattr(autotune, "_milliseconds", lambda candidate, inputs, seed: given[candidate.name])
    monkeypatch.setattr(module, "sampled", gathered)
    return module.sampled_columns, given


def test_on_a_gpu_the_faster_candidate_is_taken(gpu):
    sampled_columns, given = gpu
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 5, 5), *(torch.rand(2, 9, 5, 5).requires_grad_() for _ in range(3))
    found = sampled_columns(*inputs)
    assert [spent for _, spent in autotune.trials()] == [given] and torch.equal(found, gathered(*inputs))


@pytest.mark.parametrize("side", [32, 36])
def test_candidates_agree_where_a_training_starts(gpu, side):
    """Offsets are zero there, and positions on kinks."""
    sampled_columns, given = gpu
    given.update(Triton=3.0)
    torch.manual_seed(0)
    offsets = torch.zeros(1, 18, side, side, requires_grad=True)
    places = tap_positions(offsets, 3, 1)
    sampled_columns(torch.randn(1, 3, side, side), *places, torch.ones(1, 9, side, side))
    ((_, spent),) = autotune.trials()
    assert set(spent) == {"grid_sample", "Triton"}
