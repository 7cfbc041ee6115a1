"""StyleGAN3's filtered leaky ReLU: resampling, leaky ReLU and resampling back (Karras et al. 2021, appendix B.3)."""

from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from gendef.kernels.autotune import can_autotune
from gendef.kernels.buffers import VECTOR_BYTES, readable
from gendef.kernels.registry import FastForm, Kernel


def plain(x: Tensor, up_matrix: Tensor, down_matrix: Tensor, gain: float, slope: float, clamp: float | None) -> Tensor:
    """Four products with dense matrices.

    Args:
        x: (B, C, H, H).
        up_matrix: (M, H), resamples an axis to the higher resolution.
        down_matrix: (O, M), resamples an axis to that of the result.
        gain: factor before the clamp, positive.
        slope: of the leaky ReLU for negative values; 1 leaves it out.
        clamp: bound on the absolute value at the higher resolution, or none.

    Returns:
        (B, C, O, O).
    """
    rise, fall = up_matrix.to(x.dtype), down_matrix.to(x.dtype)
    x = torch.matmul(torch.matmul(rise * gain, x), rise.t())
    if slope != 1.0:
        x = F.leaky_relu(x, slope, inplace=True)
    if clamp is not None:
        x = x.clamp(-clamp, clamp)
    return torch.matmul(torch.matmul(fall, x), fall.t())


def _loops_suit(x: Tensor, _up: Tensor, _down: Tensor, _gain: float, slope: float, _clamp: float | None) -> bool:
    """The loops need as many channels as a vector has values; without the leaky ReLU two products are enough."""
    computed = torch.promote_types(x.dtype, torch.float32)
    return slope != 1.0 and readable(x) and x.shape[1] >= VECTOR_BYTES // computed.itemsize


def _triton_suits(x: Tensor, up: Tensor, _down: Tensor, _gain: float, slope: float, _clamp: float | None) -> bool:
    return slope != 1.0 and up.dtype == torch.float32 and can_autotune(x)


filtered_leaky_relu = Kernel(
    "filtered_leaky_relu",
    plain,
    FastForm("compiled loops", "cpu.filtered_leaky_relu:filtered_leaky_relu", _loops_suit),
    FastForm("Triton", "triton.filtered_leaky_relu:filtered_leaky_relu", _triton_suits),
)


class FilterLayer(Protocol):
    """The operation with its matrices and numbers, as a fast form computes it."""

    def value(self, x: Tensor) -> Tensor:
        """The result."""

    def gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        """The gradient of x from that of the result."""


def apply_layer(layer: FilterLayer, x: Tensor) -> Tensor:
    """`layer.value(x)`, differentiable once by `layer.gradient`; only x is kept for it."""
    return cast(Tensor, _Filtered.apply(x, layer))


class _Filtered(Function):
    """The map at the higher resolution is computed again, part by part, for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FilterLayer) -> Tensor:
        ctx.save_for_backward(x)
        ctx.layer = layer
        return layer.value(x)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.layer.gradient(x, grads[0]), None
