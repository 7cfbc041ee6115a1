"""The [1, 3, 3, 1] filter against a depthwise convolution in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gendef.kernels.cpu.conv_epilogue import Epilogue
from gendef.kernels.cpu.fir import smooth, smooth_into, smoothing_kernel


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _direct(x: torch.Tensor, padding: int, gain: float) -> torch.Tensor:
    return F.conv2d(x, smoothing_kernel(x, gain), padding=padding, groups=x.shape[1])


def _looped(x: torch.Tensor, padding: int, gain: float) -> torch.Tensor:
    size = [side + 2 * padding - 3 for side in x.shape[2:]]
    y = torch.full((*x.shape[:2], *size), torch.nan, dtype=x.dtype).contiguous(memory_format=torch.channels_last)
    smooth_into(x, y, 0, padding, gain)
    return y


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 37), st.integers(1, 37), st.integers(2, 3), st.sampled_from([1.0, 4.0]))
def test_any_size(batch: int, height: int, width: int, padding: int, gain: float) -> None:
    x = _random(batch, 11, height, width)
    torch.testing.assert_close(_looped(x, padding, gain), _direct(x, padding, gain))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(4, 37), st.integers(4, 37), st.integers(0, 1))
def test_little_padding(batch: int, height: int, width: int, padding: int) -> None:
    x = _random(batch, 11, height, width)
    torch.testing.assert_close(_looped(x, padding, 1.0), _direct(x, padding, 1.0))


def test_a_result_of_other_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="channels last"):
        smooth_into(_random(1, 9, 7, 6), _random(1, 9, 6, 5), 0, 1, 4.0)


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_gradients_of_first_and_second_order(padding: int) -> None:
    x = _random(1, 3, 5, 4).requires_grad_()
    torch.testing.assert_close(smooth(x, padding, 4.0), _direct(x, padding, 4.0))
    assert torch.autograd.gradcheck(lambda x: smooth(x, padding, 4.0), (x,))
    assert torch.autograd.gradgradcheck(lambda x: smooth(x, padding, 4.0), (x,))


def test_frames_of_a_larger_map_with_an_epilogue() -> None:
    x, y = _random(2, 9, 7, 6), torch.full((6, 9, 6, 5), torch.nan, dtype=torch.float64)
    y = y.contiguous(memory_format=torch.channels_last)
    whole = Epilogue(_random(9, seed=1), _random(3, 9, seed=2), _random(3, 9, 6, 5, seed=3), 0.2, 1.0)
    smooth_into(x, y, 2, 1, 4.0, whole)
    assert whole.scales is not None and whole.added is not None
    own = Epilogue(whole.bias, whole.scales[1:2], whole.added[1:2], 0.2, 1.0)
    torch.testing.assert_close(y[2:4], own(_direct(x, 1, 4.0)))
    assert bool(y[[0, 1, 4, 5]].isnan().all())
