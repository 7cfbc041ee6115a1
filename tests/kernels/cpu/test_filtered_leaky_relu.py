"""Compiled loops over taps against dense products in float64, with the gradient of the filtered leaky ReLU."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendef.kernels.cpu import filtered_leaky_relu as filtered
from gendef.kernels.taps import Taps, taps_of
from gendef.networks.resample import FilteredLeakyReLU, Filters, design_lowpass


def _layer(size: int, up: int = 2, clamp: float | None = 1.0) -> FilteredLeakyReLU:
    rising, falling = design_lowpass(6 * up, 6.0, 4.0, 64.0), design_lowpass(12, 6.0, 4.0, 64.0)
    filters = Filters(rising, falling, up, 2, 3 * up, 3 * up - 1)
    return FilteredLeakyReLU(size, filters, gain=1.4, slope=0.2, clamp=clamp)


def _before_clamp(layer: FilteredLeakyReLU, x: torch.Tensor) -> torch.Tensor:
    rise = layer.up_matrix.double()
    return F.leaky_relu(rise @ x.double() @ rise.t(), layer.slope) * layer.gain


def _dense(layer: FilteredLeakyReLU, x: torch.Tensor) -> torch.Tensor:
    fall, x = layer.down_matrix.double(), _before_clamp(layer, x)
    return fall @ (x if layer.clamp is None else x.clamp(-layer.clamp, layer.clamp)) @ fall.t()


def _maps(channels: int, size: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, channels, size, size, dtype=dtype).contiguous(memory_format=torch.channels_last)


def _value_and_gradient(function, layer, x, seed):  # type: ignore[no-untyped-def]
    x = x.detach().requires_grad_()
    value = function(layer, x) if function is _dense else layer(x)
    return value.detach(), torch.autograd.grad(value, x, seed.to(value.dtype))[0]


@pytest.mark.parametrize("up", [2, 4])
@pytest.mark.parametrize("channels", [3, 8, 17, 40])
@pytest.mark.parametrize("clamp", [None, 1.0])
def test_values_and_gradient_are_those_of_dense_products(up: int, channels: int, clamp: float | None) -> None:
    layer, x = _layer(23, up, clamp).double(), _maps(channels, 23)
    if clamp is not None:
        assert (_before_clamp(layer, x).abs() > clamp).any()
    seed = torch.randn_like(_dense(layer, x))
    value, gradient = _value_and_gradient(None, layer, x, seed)
    expected, expected_gradient = _value_and_gradient(_dense, layer, x, seed)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-13)


@pytest.mark.parametrize("channels", [15, 16, 17, 40, 64])
def test_float32_is_as_exact_as_it_can_be(channels: int) -> None:
    layer, x = _layer(18), _maps(channels, 18, torch.float32)
    # Where the leaky ReLU or the clamp has a kink, rounding decides about the gradient.
    x += 0.02 * x.sign()
    seed = torch.randn_like(_dense(layer, x))
    value, gradient = _value_and_gradient(None, layer, x, seed)
    expected, expected_gradient = _value_and_gradient(_dense, layer, x.double(), seed)
    assert value.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=0, atol=3e-6)
    off = (gradient.double() - expected_gradient).abs()
    assert off.median() < 1e-6 and (off > 1e-5).float().mean() < 0.01


def test_gradient_is_that_of_finite_differences() -> None:
    layer = _layer(6).double()
    x = _maps(8, 6)[:1].requires_grad_()
    assert torch.autograd.gradcheck(layer, x, eps=1e-7, atol=1e-5)


def test_columns_in_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = _layer(40).double(), _maps(9, 40)
    seed = torch.randn_like(_dense(layer, x))
    whole = _value_and_gradient(None, layer, x, seed)
    monkeypatch.setattr(filtered, "SCRATCH_BYTES", 2**14)
    (rise, _), (fall, _) = taps_of(layer.up_matrix), taps_of(layer.down_matrix)
    assert len(filtered._tiles([rise], fall, filtered.SCRATCH_BYTES // filtered.VECTOR_BYTES)) > 1
    for ours, expected in zip(_value_and_gradient(None, layer, x, seed), whole, strict=True):
        assert torch.equal(ours, expected)


def test_channels_may_come_first_and_go_last() -> None:
    layer, x = _layer(20).double(), _maps(16, 20)
    seed = torch.randn_like(_dense(layer, x))
    value, gradient = _value_and_gradient(None, layer, x, seed.contiguous(memory_format=torch.channels_last))
    assert value.is_contiguous(memory_format=torch.channels_last)
    again = _value_and_gradient(None, layer, x.contiguous(), seed.contiguous())
    assert torch.equal(again[0], value) and torch.equal(again[1], gradient)
    assert torch.equal(layer(torch.cat((x, x), dim=1)[:, 8:24])[:, :8], value[:, 8:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    layer, x = _layer(18), _maps(16, 18, dtype)
    seed = torch.ones_like(_dense(layer, x))
    value, gradient = _value_and_gradient(None, layer, x, seed)
    expected, expected_gradient = _value_and_gradient(None, layer, x.float(), seed)
    assert torch.equal(value, expected.to(dtype)) and torch.equal(gradient, expected_gradient.to(dtype))
    assert torch.equal(layer.to(dtype)(x).isfinite(), torch.ones_like(value, dtype=torch.bool))


def test_nan_stays_and_does_not_spread() -> None:
    layer, x = _layer(40).double(), _maps(8, 40)
    x[0, 3, 20, 20] = torch.nan
    value = layer(x)
    assert value[0, 3, 20, 20].isnan()
    value[0, 3, 10:30, 10:30] = 0
    assert value.isfinite().all()
    seed = torch.ones_like(value)
    seed[1, 5, 10, 10] = torch.nan
    gradient = _value_and_gradient(None, layer, _maps(8, 40), seed)[1]
    assert gradient[1, 5].isnan().any() and gradient[0].isfinite().all() and gradient[1, :5].isfinite().all()


def test_more_threads_and_calls_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendef.kernels.cpu.threads.LEAST_OPERATIONS", 0)
    layer, x = _layer(20).double(), _maps(40, 20)
    seed = torch.randn_like(_dense(layer, x))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = _value_and_gradient(None, layer, x, seed)
        torch.set_num_threads(3)
        several = _value_and_gradient(None, layer, x, seed)
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(_value_and_gradient, None, layer, x, seed) for _ in range(8)]
            results = [call.result() for call in calls]
    finally:
        torch.set_num_threads(threads)
    for value, gradient in (several, *results):
        assert torch.equal(value, single[0]) and torch.equal(gradient, single[1])


def test_only_the_input_is_kept_for_the_gradient() -> None:
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        _layer(32).double()(_maps(8, 32).requires_grad_())
    assert kept == [2 * 8 * 32 * 32]


def test_matrices_may_be_copied_converted_and_replaced() -> None:
    layer, x = _layer(20), _maps(16, 20, torch.float32)
    value = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), value)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), value)
    torch.testing.assert_close(copy.deepcopy(layer).double()(x.double()), _dense(layer, x), rtol=0, atol=1e-13)
    layer.down_matrix = layer.down_matrix * 2
    assert torch.equal(layer(x), value * 4)
    assert taps_of(layer.up_matrix) is taps_of(layer.up_matrix)


def test_taps_hold_all_that_is_not_zero() -> None:
    matrix = np.diag(np.arange(1.0, 10.0)) + np.diag(np.ones(7), 2)
    matrix[4] = 0
    matrix[7:] = 0
    found = Taps.of(matrix)
    places = len(found.places)
    assert places == 3 and (np.diff(found.starts) >= 0).all()
    for values, column in ((found.weights, lambda start, k: start + k), (found.turned, None)):
        again = np.zeros_like(matrix)
        for row, start in enumerate(found.starts):
            for k in range(places):
                c = column(start, k) if column else start + (k - start) % places
                again[row, c] = values[row * places + k]
        assert np.array_equal(again, matrix)


def test_a_matrix_of_zeros_gives_zeros() -> None:
    layer = _layer(20).double()
    layer.up_matrix = torch.zeros_like(layer.up_matrix)
    assert not layer(_maps(8, 20)).any()


def test_an_empty_batch_gives_an_empty_batch() -> None:
    layer = _layer(20)
    assert layer(torch.empty(0, 16, 20, 20)).shape == (0, 16, len(layer.down_matrix), len(layer.down_matrix))


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="16x16"):
        _layer(16)(torch.zeros(1, 16, 12, 12))
    with pytest.raises(ValueError, match="16x16"):
        _layer(16)(torch.zeros(1, 16, 16, 12))
