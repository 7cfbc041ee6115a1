"""Resampling: FIR design, 2x up and down, and StyleGAN3's filtered leaky ReLU (Karras et al. 2021, appendix B).

Per axis, zero insertion, padding, filtering and decimation are one linear map, a small banded matrix. The filtered
leaky ReLU multiplies by such matrices, or lets a kernel skip their zeros (`gendef.kernels.filtered_leaky_relu`).
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from gendef.kernels.filtered_leaky_relu import filtered_leaky_relu
from gendef.kernels.fir import smooth, smoothing_kernel


def design_lowpass(num_taps: int, cutoff: float, width: float, sampling_rate: float) -> np.ndarray:
    """Kaiser low-pass filter of `num_taps` taps, float64, summing to one; [1.0] for a single tap.

    A sinc times a Kaiser window; its beta follows from the attenuation by Kaiser's formulas (Oppenheim and Schafer,
    Discrete-Time Signal Processing, section 7.5.3; Karras et al. 2021, appendix C). The values are those of
    `scipy.signal.firwin(num_taps, cutoff, width=width, fs=sampling_rate)`, which takes a second to import.

    Args:
        cutoff: cut-off frequency, in cycles per image like `width` and `sampling_rate`.
        width: width of the transition band.
    """
    if num_taps == 1:
        return np.ones(1)
    attenuation = 2.285 * (num_taps - 1) * np.pi * 2 * width / sampling_rate + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    bandwidth = 2 * cutoff / sampling_rate
    taps = bandwidth * np.sinc(bandwidth * (np.arange(num_taps) - (num_taps - 1) / 2)) * np.kaiser(num_taps, beta)
    return taps / taps.sum()


def resampling_matrix(
    in_size: int, taps: np.ndarray, *, up: int = 1, down: int = 1, pad_low: int = 0, pad_high: int = 0
) -> np.ndarray:
    """Matrix (out, in_size), float64, of zero insertion by `up`, padding, filtering and decimation by `down`.

    The filter is scaled by `up`, so that a constant keeps its value. Negative padding crops.
    """
    full = in_size * up + pad_low + pad_high - len(taps) + 1
    rows = np.arange(0, full, down)[:, None]
    columns = np.arange(in_size)[None, :]
    # Output r (before decimation) reads padded samples r .. r + K - 1; sample i lies at pad_low + i * up.
    tap = rows + len(taps) - 1 - (pad_low + columns * up)
    inside = (tap >= 0) & (tap < len(taps))
    return np.where(inside, taps[np.clip(tap, 0, len(taps) - 1)] * up, 0.0)


@dataclass(frozen=True)
class Filters:
    """Resampling around a non-linearity, per axis.

    Attributes:
        up_taps, down_taps: FIR filters.
        up, down: factors.
        pad_low, pad_high: padding of the zero-inserted signal.
    """

    up_taps: np.ndarray
    down_taps: np.ndarray
    up: int
    down: int
    pad_low: int
    pad_high: int


class FilteredLeakyReLU(nn.Module):
    """Upsampling, leaky ReLU and downsampling of a square feature map (Karras et al. 2021, appendix B.3).

    Args:
        in_size: side of the input.
        filters: of the way up and of the way down.
        gain, slope, clamp: of the leaky ReLU; the clamp follows the gain.
    """

    def __init__(self, in_size: int, filters: Filters, *, gain: float, slope: float, clamp: float | None) -> None:
        super().__init__()
        rise = resampling_matrix(
            in_size, filters.up_taps, up=filters.up, pad_low=filters.pad_low, pad_high=filters.pad_high
        )
        fall = resampling_matrix(rise.shape[0], filters.down_taps, down=filters.down)
        self.filters = filters
        self.up_matrix: Tensor
        self.down_matrix: Tensor
        # Derived from the configuration, hence not part of the saved model.
        self.register_buffer("up_matrix", torch.from_numpy(rise).float(), persistent=False)
        self.register_buffer("down_matrix", torch.from_numpy(fall).float(), persistent=False)
        self.gain, self.slope, self.clamp = gain, slope, clamp

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, in_size, in_size) -> (B, C, out_size, out_size)."""
        y: Tensor = filtered_leaky_relu(x, self.up_matrix, self.down_matrix, self.gain, self.slope, self.clamp)
        return y


def upsample_2x(x: Tensor, *, extra: int = 0) -> Tensor:
    """Double (B, C, H, W) with the [1, 3, 3, 1] filter on the zero-extended plane, plus `extra` pixels (0 or 1) around.

    Bilinear interpolation with a factor of two has exactly this filter; padding with zeros first gives
    its behaviour at the border too.
    """
    crop = 2 - extra
    x = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False)
    return x[..., crop : x.shape[-2] - crop, crop : x.shape[-1] - crop]


def downsample_2x(x: Tensor, *, stride: int = 2, extra: int = 0) -> Tensor:
    """Filter (B, C, H, W) with [1, 3, 3, 1] / 8 per axis on the zero-extended plane.

    With `stride` 2 the size is halved. With stride 1 and `extra` pixels of additional padding on each side, the result
    is what a convolution of stride 2 and kernel 2 * extra + 1 reads: (B, C, H + 2 extra - 1, W + 2 extra - 1).

    Raises:
        ValueError: the size is to be halved, and is not even.
    """
    if stride == 1:
        return cast(Tensor, smooth(x, 1 + extra, 1.0))
    if x.shape[2] % 2 or x.shape[3] % 2:
        raise ValueError(f"only an even size can be halved, got {x.shape[2]} x {x.shape[3]}")
    return cast(Tensor, _Halved.apply(x))


class _Halved(Function):
    """The gradient is an interpolation, several times faster on a CPU than that of a depthwise convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.conv2d(x, smoothing_kernel(x, 1.0), stride=2, padding=1, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return cast(Tensor, _Spread.apply(grads[0]))


class _Spread(Function):
    """The adjoint of `_Halved`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return upsample_2x(x) * 0.25

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return cast(Tensor, _Halved.apply(grads[0]))


def upsampled_conv2d(x: Tensor, weight: Tensor) -> Tensor:
    """Double the resolution with the [1, 3, 3, 1] filter, convolve 3x3: (B, I, H, W) -> (B, O, 2H, 2W).

    A transposed convolution of stride 2, then the filter, on the zero-extended plane. That takes a quarter of the
    products of a convolution of the upsampled map. As in every transposed convolution, the kernel is flipped.
    """
    return cast(Tensor, smooth(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, 4.0))
