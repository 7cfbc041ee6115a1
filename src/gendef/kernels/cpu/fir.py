"""The [1, 3, 3, 1] filter in both axes (Zhang 2019): a depthwise convolution, or a loop that goes on to an epilogue."""

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from gendef.kernels.cpu import fir_loops as loops
from gendef.kernels.cpu.buffers import rows_of, workspace
from gendef.kernels.cpu.conv_epilogue import NOTHING, Epilogue
from gendef.kernels.cpu.threads import for_each, useful_threads


def smoothing_kernel(x: Tensor, gain: float) -> Tensor:
    """The filter, summing to `gain`, for a depthwise convolution of `x`: (C, 1, 4, 4)."""
    # Computed there: numbers from the processor would make it wait for a GPU.
    taps = (2 - (torch.arange(4, dtype=x.dtype, device=x.device) - 1.5).abs()) / 4
    return (taps[:, None] * taps * gain).expand(x.shape[1], 1, 4, 4)


def smooth(x: Tensor, padding: int, gain: float) -> Tensor:
    """Filter (N, C, H, W), zero outside, with weights that sum to `gain`: (N, C, H + 2 padding - 3, W + 2 padding - 3).

    Differentiable to any order; padding from 0 to 3.
    """
    if x.requires_grad and torch.is_grad_enabled() and not torch.jit.is_tracing():
        return cast(Tensor, _Smooth.apply(x, padding, gain))
    return F.conv2d(x, smoothing_kernel(x, gain), padding=padding, groups=x.shape[1])


class _Smooth(Function):
    """Its own adjoint, with the other padding: a depthwise convolution's own gradient takes twice as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int, gain: float) -> Tensor:
        ctx.padding, ctx.gain = padding, gain
        return smooth(x.detach(), padding, gain)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return smooth(grads[0], 3 - ctx.padding, ctx.gain), None, None


def smooth_into(x: Tensor, y: Tensor, first: int, padding: int, gain: float, epilogue: Epilogue = NOTHING) -> None:
    """Filter x (F, C, H, W) into the frames of y (N, C, H', W') from `first` on, through `epilogue`; see `smooth`.

    Raises:
        ValueError: y is not channels last in memory.
    """
    if not y.is_contiguous(memory_format=torch.channels_last):
        raise ValueError("the result's memory must be channels last")
    source, maps = rows_of(x).numpy(), rows_of(y).numpy()
    final = epilogue.arrays(y)
    outer = source.dtype.type(np.sqrt(gain) / 8)

    def work(piece: tuple[int, int, int]) -> None:
        frame, low, high = piece
        ring = workspace("ring", y, 4, maps.shape[2]).numpy()
        loops.smooth(source, maps, first, frame, low, high, padding, outer, ring, *final)

    height = y.shape[2]
    threads = useful_threads(100 * y[: len(x)].numel())
    step = max(height // threads, 16)
    for_each(
        work, [(f, low, min(low + step, height)) for f in range(len(x)) for low in range(0, height, step)], threads
    )
