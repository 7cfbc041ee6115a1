import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F

from gendef.networks.resample import (
    FilteredLeakyReLU,
    Filters,
    design_lowpass,
    downsample_2x,
    resampling_matrix,
    upsample_2x,
    upsampled_conv2d,
)


def brute_resample(signal, taps, up, down, pad_low, pad_high):
    """Zero insertion, padding, filtering and decimation, written out."""
    stretched = np.zeros(len(signal) * up)
    stretched[::up] = signal
    if pad_low < 0:
        stretched, pad_low = stretched[-pad_low:], 0
    if pad_high < 0:
        stretched, pad_high = stretched[:pad_high], 0
    stretched = np.pad(stretched, (pad_low, pad_high))
    return np.convolve(stretched, taps * up, mode="valid")[::down]


@pytest.mark.parametrize(
    ("up", "down", "low", "high", "taps"),
    [(2, 1, 5, 6, 12), (4, 1, 3, 2, 24), (1, 2, 4, 4, 12), (2, 2, -3, 7, 12), (2, 1, -4, -2, 6), (1, 1, 0, 0, 1)],
)
def test_matrix_equals_zero_insertion_and_filtering(up, down, low, high, taps):
    rng = np.random.default_rng(0)
    kernel, signal = rng.standard_normal(taps), rng.standard_normal(17)
    matrix = resampling_matrix(17, kernel, up=up, down=down, pad_low=low, pad_high=high)
    np.testing.assert_allclose(matrix @ signal, brute_resample(signal, kernel, up, down, low, high), atol=1e-12)


def test_lowpass_sums_to_one_and_is_symmetric():
    taps = design_lowpass(12, 8.0, 4.0, 64.0)
    assert taps.sum() == pytest.approx(1)
    np.testing.assert_allclose(taps, taps[::-1])
    assert design_lowpass(1, 8.0, 4.0, 64.0).tolist() == [1.0]


@pytest.mark.parametrize("num_taps", [2, 6, 12, 24, 48])
@pytest.mark.parametrize(("cutoff", "width"), [(2.0, 4.6), (16.0, 8.0), (100.0, 60.0), (128.0, 1.0)])
def test_lowpass_is_that_of_scipy(num_taps, cutoff, width):
    """The attenuation is below 21 dB, between 21 and 50, and above, so that all of Kaiser's formulas are met."""
    expected = scipy.signal.firwin(num_taps, cutoff, width=width, fs=512.0)
    np.testing.assert_allclose(design_lowpass(num_taps, cutoff, width, 512.0), expected, rtol=0, atol=1e-15)


def test_filtered_leaky_relu_equals_the_literal_pipeline():
    torch.manual_seed(0)
    up_taps, down_taps = design_lowpass(12, 6.0, 4.0, 64.0), design_lowpass(12, 6.0, 4.0, 64.0)
    layer = FilteredLeakyReLU(
        10, Filters(up_taps, down_taps, up=2, down=2, pad_low=6, pad_high=5), gain=1.4, slope=0.2, clamp=1.0
    ).double()
    layer.up_matrix = torch.from_numpy(resampling_matrix(10, up_taps, up=2, pad_low=6, pad_high=5))
    layer.down_matrix = torch.from_numpy(resampling_matrix(layer.up_matrix.shape[0], down_taps, down=2))
    x, bias = torch.randn(2, 3, 10, 10).double(), torch.randn(3).double()
    stretched = torch.zeros(2, 3, 20, 20).double()
    stretched[..., ::2, ::2] = x + bias[:, None, None]
    kernel = torch.from_numpy(np.outer(up_taps, up_taps) * 4).flip(0, 1).expand(3, 1, 12, 12)
    y = F.conv2d(F.pad(stretched, (6, 5, 6, 5)), kernel, groups=3)
    y = (F.leaky_relu(y, 0.2) * 1.4).clamp(-1, 1)
    kernel = torch.from_numpy(np.outer(down_taps, down_taps)).flip(0, 1).expand(3, 1, 12, 12)
    expected = F.conv2d(y, kernel, groups=3)[..., ::2, ::2]
    assert (y.abs() == 1).any(), "the clamp must be reached for this test to mean anything"
    torch.testing.assert_close(layer(x + bias[:, None, None]), expected, atol=1e-12, rtol=0)


def literal_upsample(x):
    stretched = torch.zeros(*x.shape[:2], x.shape[2] * 2, x.shape[3] * 2, dtype=x.dtype)
    stretched[..., ::2, ::2] = x
    taps = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype) / 8
    kernel = (taps[:, None] * taps * 4).expand(x.shape[1], 1, 4, 4)
    # Three zeros before and two after put output 2i on input i, with one pixel to spare around.
    return F.conv2d(F.pad(stretched, (3, 2, 3, 2)), kernel, groups=x.shape[1])


def test_upsample_equals_zero_insertion():
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(upsample_2x(x), literal_upsample(x)[..., 1:-1, 1:-1])
    torch.testing.assert_close(upsample_2x(x, extra=1), literal_upsample(x))


def test_upsampled_convolution_filters_then_convolves():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 5, 5, dtype=torch.float64), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    expected = F.conv2d(literal_upsample(x), weight.flip(2, 3))
    torch.testing.assert_close(upsampled_conv2d(x, weight), expected)


def test_downsample_equals_a_filtered_stride():
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64) / 8
    kernel = (taps[:, None] * taps).expand(3, 1, 4, 4)
    full = F.conv2d(F.pad(x, (2, 2, 2, 2)), kernel, groups=3)
    torch.testing.assert_close(downsample_2x(x, stride=1, extra=1), full)
    torch.testing.assert_close(downsample_2x(x), full[..., 1:-1:2, 1:-1:2])


def test_gradients_of_downsampling():
    x = torch.randn(1, 2, 6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(downsample_2x, (x,))
    assert torch.autograd.gradgradcheck(downsample_2x, (x,))
    with pytest.raises(ValueError, match="only an even size can be halved, got 5 x 4"):
        downsample_2x(torch.zeros(1, 2, 5, 4))
