"""Products in blocks and bands against dense ones, with the gradient of the filtered leaky ReLU that stands on them."""

import pytest
import torch
import torch.nn.functional as F

from gendef.networks import banded
from gendef.networks.banded import band, bands, resample_region, through
from gendef.networks.resample import FilteredLeakyReLU, Filters, design_lowpass


def _filters(up: int, down: int) -> Filters:
    return Filters(
        design_lowpass(6 * up, 6.0, 4.0, 64.0), design_lowpass(6 * down, 6.0, 4.0, 64.0), up, down, 3 * up, 3 * up - 1
    )


def _layer(size: int, up: int, down: int, clamp: float | None) -> FilteredLeakyReLU:
    return FilteredLeakyReLU(size, _filters(up, down), gain=1.4, slope=0.2, clamp=clamp).double()


def _dense(layer: FilteredLeakyReLU, x: torch.Tensor) -> torch.Tensor:
    rise, fall = layer.up_matrix, layer.down_matrix
    x = F.leaky_relu(rise @ x @ rise.t(), layer.slope) * layer.gain
    x = x if layer.clamp is None else x.clamp(-layer.clamp, layer.clamp)
    return fall @ x @ fall.t()


@pytest.fixture(params=[(8, 300), (32, 2**18)])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banded, "BLOCK_COLUMNS", request.param[0])
    monkeypatch.setattr(banded, "BLOCK_VALUES", request.param[1])


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize(("size", "up", "down"), [(37, 2, 2), (23, 4, 2), (40, 2, 1), (30, 2, 4)])
@pytest.mark.parametrize("clamp", [None, 1.0])
def test_values_and_gradient_are_those_of_dense_products(size: int, up: int, down: int, clamp: float | None) -> None:
    torch.manual_seed(0)
    layer = _layer(size, up, down, clamp)
    x = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    ours, dense = layer(x), _dense(layer, x)
    torch.testing.assert_close(ours, dense)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    if clamp is not None:
        assert (F.leaky_relu(layer.up_matrix @ x @ layer.up_matrix.t(), 0.2) * 1.4).abs().max() > clamp
    seed = torch.randn_like(dense)
    torch.testing.assert_close(torch.autograd.grad(ours, x, seed)[0], torch.autograd.grad(dense, x, seed)[0])


def test_only_the_input_is_kept_for_the_gradient() -> None:
    layer = _layer(32, 2, 2, 256.0)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        layer(torch.randn(1, 4, 32, 32, dtype=torch.float64, requires_grad=True))
    assert max(kept) == 4 * 32 * 32


def test_bands_hold_all_that_is_not_zero() -> None:
    matrix = torch.diag(torch.ones(20)) + torch.diag(torch.ones(17), 3)
    again = torch.zeros_like(matrix)
    for part in bands(matrix, 6):
        again[part.rows, part.reads] = part.values
    assert torch.equal(again, matrix)
    assert [part.stop - part.start for part in bands(matrix, 6)] == [6, 7, 7]


def test_a_matrix_of_zeros_gives_zeros() -> None:
    zeros = torch.zeros(6, 5)
    assert torch.equal(band(zeros, 2, 6).values, torch.zeros(4, 1))
    x = torch.randn(1, 2, 5, 5)
    assert not through(x, zeros, torch.ones(3, 6), lambda part, *_: part).any()


def test_a_region_is_a_part_of_the_whole() -> None:
    torch.manual_seed(0)
    matrix, x = torch.randn(11, 7, dtype=torch.float64), torch.randn(7, 7, 3, dtype=torch.float64)
    whole = torch.einsum("ai,bj,ijc->abc", matrix, matrix, x)
    part = resample_region(x, band(matrix, 2, 5), band(matrix, 4, 11))
    torch.testing.assert_close(part, whole[2:5, 4:11])
