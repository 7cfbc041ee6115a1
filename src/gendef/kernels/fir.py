"""The [1, 3, 3, 1] filter in both axes (Zhang 2019), as a depthwise convolution."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from gendef.kernels.registry import FastForm, Kernel


def smoothing_kernel(x: Tensor, gain: float) -> Tensor:
    """The filter, summing to `gain`, for a depthwise convolution of `x`: (C, 1, 4, 4)."""
    # Computed on the device of x: a copy from the CPU would make the CPU wait for a GPU.
    taps = (2 - (torch.arange(4, dtype=x.dtype, device=x.device) - 1.5).abs()) / 4
    return (taps[:, None] * taps * gain).expand(x.shape[1], 1, 4, 4)


def _depthwise(x: Tensor, padding: int, gain: float) -> Tensor:
    """Filter (N, C, H, W), zero outside, with weights that sum to `gain`: (N, C, H + 2 padding - 3, W + 2 padding - 3).

    Padding from 0 to 3.
    """
    return F.conv2d(x, smoothing_kernel(x, gain), padding=padding, groups=x.shape[1])


def _needs_gradient(x: Tensor, _padding: int, _gain: float) -> bool:
    return x.requires_grad and torch.is_grad_enabled() and not torch.jit.is_tracing()


def _with_adjoint(x: Tensor, padding: int, gain: float) -> Tensor:
    return cast(Tensor, _Smooth.apply(x, padding, gain))


smooth = Kernel("smooth", _depthwise, FastForm("the filter as its own adjoint", _with_adjoint, _needs_gradient))


class _Smooth(Function):
    """The filter is symmetric: its gradient is the same filter with the other padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int, gain: float) -> Tensor:
        ctx.padding, ctx.gain = padding, gain
        return smooth(x.detach(), padding, gain)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return smooth(grads[0], 3 - ctx.padding, ctx.gain), None, None
