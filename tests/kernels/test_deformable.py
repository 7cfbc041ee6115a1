"""Deformable convolution against explicit loops, by both ways of sampling."""

import math
from types import SimpleNamespace

import pytest
import torch

from gendef.kernels import deformable
from gendef.kernels.deformable import deformable_columns, gathered, grid_sampled, tap_major
from gendef.kernels.triton import autotune as choice


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


@pytest.mark.parametrize("sample", [gathered, grid_sampled])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (3, 2)])
def test_columns_times_weights_equal_brute_force(sample, kernel, padding, monkeypatch):
    monkeypatch.setattr(deformable, "gathered", sample)
    torch.manual_seed(0)
    side = 4 + 2 * padding - kernel + 1
    x, weight = torch.randn(2, 2, 4, 4).double(), torch.randn(3, 2, kernel, kernel).double()
    offsets = torch.randn(2, 2 * kernel**2, side, side).double()
    masks = torch.rand(2, kernel**2, side, side).double()
    columns = deformable_columns(x, offsets, masks, kernel, padding)
    result = (columns @ tap_major(weight)).permute(0, 2, 1).reshape(2, 3, side, side)
    torch.testing.assert_close(result, brute_deformable(x, offsets, masks, weight, padding))


def test_both_ways_have_the_same_gradients():
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


def test_on_a_gpu_the_faster_way_is_taken(monkeypatch):
    """As there, but for the times, which are given, and the kernel, in whose place is another way."""
    given = {"grid_sample": 2.0, "Triton": 1.0}
    monkeypatch.setattr(choice, "_trials", {})
    monkeypatch.setattr(choice, "_milliseconds", lambda way, inputs, seed: given[way.name])
    monkeypatch.setattr(deformable, "worth_trying", lambda *inputs: True)
    monkeypatch.setattr(deformable, "kernels", lambda name: SimpleNamespace(sampled=gathered))
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 5, 5), *(torch.rand(2, 9, 5, 5).requires_grad_() for _ in range(3))
    found = deformable._sampled_on_gpu(*inputs)
    assert [spent for _, spent in choice.trials()] == [given] and torch.equal(found, gathered(*inputs))


@pytest.mark.parametrize("side", [32, 36])
def test_ways_agree_where_a_training_starts(monkeypatch, side):
    """Offsets are zero there, and positions on kinks."""
    monkeypatch.setattr(choice, "_trials", {})
    choice._warn.cache_clear()
    monkeypatch.setattr(choice, "_milliseconds", lambda way, inputs, seed: float(way.name == "grid_sample"))
    monkeypatch.setattr(deformable, "worth_trying", lambda *inputs: True)
    monkeypatch.setattr(deformable, "kernels", lambda name: SimpleNamespace(sampled=gathered))
    torch.manual_seed(0)
    offsets = torch.zeros(1, 18, side, side, requires_grad=True)
    places = deformable.tap_positions(offsets, 3, 1)
    deformable._sampled_on_gpu(torch.randn(1, 3, side, side), *places, torch.ones(1, 9, side, side))
    ((_, spent),) = choice.trials()
    assert set(spent) == {"grid_sample", "Triton"}
