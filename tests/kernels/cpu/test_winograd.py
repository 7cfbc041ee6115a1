"""Winograd's convolutions against direct ones in float64, with gradients of first and second order."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gendef.kernels.convolution import conv2d, winograd_suits
from gendef.kernels.cpu import winograd
from gendef.kernels.cpu.winograd import convolve_transformed, transform_kernel, winograd_conv2d


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks even in small maps: of several rows, and of several frames."""
    monkeypatch.setattr(winograd, "BLOCK_TILES", 5)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(3, 23), st.integers(3, 23), st.integers(0, 2))
def test_any_size_gives_the_direct_convolution(batch: int, height: int, width: int, padding: int) -> None:
    x, weight = _random(batch, 9, height, width), _random(11, 9, 3, 3, seed=1)
    torch.testing.assert_close(
        convolve_transformed(x, transform_kernel(weight), padding), F.conv2d(x, weight, padding=padding)
    )


def test_nan_stays_where_a_convolution_puts_it() -> None:
    x, weight = _random(1, 9, 9, 9), _random(11, 9, 3, 3, seed=1)
    x[0, 0, 4, 4] = torch.nan
    ours = convolve_transformed(x, transform_kernel(weight), 1)
    direct = F.conv2d(x, weight, padding=1)
    assert bool(ours[direct.isnan()].isnan().all())


@pytest.mark.parametrize("threads", [2, 5])
def test_more_threads_give_the_same_values(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendef.kernels.cpu.threads.LEAST_OPERATIONS", 0)
    x, weight = _random(3, 9, 17, 9), _random(11, 9, 3, 3, seed=1)
    kernel = transform_kernel(weight)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        wanted = convolve_transformed(x, kernel, 1)
        torch.set_num_threads(threads)
        ours = convolve_transformed(x, kernel, 1)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(ours, wanted)


def test_a_kernel_for_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="9 channels"):
        convolve_transformed(_random(3, 8, 8, 8), transform_kernel(_random(11, 9, 3, 3, seed=1)), 1)


def test_gradients_are_the_same_in_every_run_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendef.kernels.cpu.threads.LEAST_OPERATIONS", 0)
    x, weight = _random(7, 24, 21, 21).float(), _random(24, 24, 3, 3, seed=1).float().requires_grad_()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        runs = [torch.autograd.grad(winograd_conv2d(x, weight, 1).square().sum(), weight)[0] for _ in range(8)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(run, runs[0]) for run in runs)
    wide = weight.detach().double().requires_grad_()
    exact = torch.autograd.grad(F.conv2d(x.double(), wide, padding=1).square().sum(), wide)[0]
    assert float((runs[0] - exact).norm()) < 1e-5 * float(exact.norm())


def test_inference_mode_and_ordinary_calls_take_turns() -> None:
    x, weight = _random(1, 9, 9, 9), _random(11, 9, 3, 3, seed=1)
    with torch.inference_mode():
        inside = winograd_conv2d(x, weight, 1)
    torch.testing.assert_close(winograd_conv2d(x, weight, 1), F.conv2d(x, weight, padding=1))
    torch.testing.assert_close(inside.clone(), F.conv2d(x, weight, padding=1))


def _gradients(convolve: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    """Of first and second order, by input and by weight."""
    x, weight = _random(2, 9, 6, 9).requires_grad_(), _random(11, 9, 3, 3, seed=1).requires_grad_()
    first = torch.autograd.grad(convolve(x, weight).pow(3).sum(), (x, weight), create_graph=True)
    return [*first, *torch.autograd.grad(sum(g.pow(3).sum() for g in first), (x, weight))]


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_gradients_of_first_and_second_order_are_those_of_the_direct_convolution(padding: int) -> None:
    ours = _gradients(lambda x, w: winograd_conv2d(x, w, padding))
    direct = _gradients(lambda x, w: F.conv2d(x, w, padding=padding))
    for own, wanted in zip(ours, direct, strict=True):
        torch.testing.assert_close(own, wanted)


def test_float32_is_exact_to_a_ten_thousandth_of_the_outputs_deviation() -> None:
    x, weight = _random(1, 256, 16, 16), _random(256, 256, 3, 3, seed=1)
    exact = F.conv2d(x, weight, padding=1)
    ours = convolve_transformed(x.float(), transform_kernel(weight.float()), 1)
    assert float((ours - exact).abs().max()) < 1e-4 * float(exact.std())


def test_results_are_channels_last_and_their_own_memory() -> None:
    x, weight = _random(2, 9, 8, 8), _random(11, 9, 3, 3, seed=1)
    first = winograd_conv2d(x, weight, 1)
    kept = first.clone()
    winograd_conv2d(-x, weight, 1)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, kept)


def test_results_may_be_overwritten_in_training() -> None:
    x, weight = _random(2, 9, 8, 8), _random(11, 9, 3, 3, seed=1).requires_grad_()
    first = winograd_conv2d(x, weight, 1)
    F.leaky_relu(first, 0.2, inplace=True).sum().backward()
    assert weight.grad is not None and weight.grad.any()


def test_few_channels_few_tiles_and_other_precisions_are_left_to_the_direct_convolution() -> None:
    wide, weight = torch.zeros(2, 128, 32, 32), torch.zeros(128, 128, 3, 3)
    assert winograd_suits(wide, weight, 1)
    assert not winograd_suits(wide, weight[:3], 1)
    assert not winograd_suits(wide, weight[..., :1, :1])
    assert not winograd_suits(wide[..., :16, :16], weight, 1)
    assert not winograd_suits(wide.double(), weight.double(), 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd_suits(wide, weight, 1)


def test_a_compiled_graph_has_torchs_operators() -> None:
    weight = _random(128, 128, 3, 3).float()
    x = _random(1, 128, 32, 32, seed=1).float()
    compiled = torch.compile(lambda x: conv2d(x, weight, 1), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), F.conv2d(x, weight, padding=1), atol=1e-3, rtol=0)
