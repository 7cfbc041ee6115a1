"""Steps after a convolution in its layer: contribution of shared channels, scales, bias, leaky ReLU and clamp."""

import torch
import torch.nn.functional as F
from torch import Tensor


def conv_epilogue(
    y: Tensor,
    bias: Tensor | None = None,
    scales: Tensor | None = None,
    added: Tensor | None = None,
    *,
    slope: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """Leaky ReLU of (y + added) * scales + bias, clamped to [-clamp, clamp].

    Overwrites `y` where it can. Differentiable to any order, if the operation that made y does not need its result.

    Args:
        y: (B * T, O, H, W).
        bias: (O,) or none.
        scales: (B or 1, O) or none.
        added: (B, O, H, W) or none, the same for all T frames of a video.
        slope: of the leaky ReLU for negative values, in (0, 1]; 1 leaves it out.
        clamp: bound on the absolute value, or none.
    """
    if added is not None:
        y.unflatten(0, (len(added), -1)).add_(added[:, None])
    bias = None if bias is None else bias.to(y.dtype)[None, :, None, None]
    if scales is not None:
        scales = scales.to(y.dtype).repeat_interleave(len(y) // len(scales), dim=0)[:, :, None, None]
        y = y * scales if bias is None else torch.addcmul(bias, y, scales)
    elif bias is not None:
        y = y.add_(bias)
    if slope != 1.0:
        y = F.leaky_relu(y, slope, inplace=True)
    if clamp is None:
        return y
    return y.clamp(-clamp, clamp) if torch.is_grad_enabled() and y.requires_grad else y.clamp_(-clamp, clamp)
