"""What follows a convolution in its layer: shared channels' part, scales, bias, leaky ReLU, clamp.

The compiled convolutions apply it to values that are still in the processor's registers; all others as torch's
operators.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.kernels.cpu.buffers import rows_of
from gendef.kernels.cpu.leaky_relu import activate_


@dataclass(frozen=True)
class Epilogue:
    """Leaky ReLU of (y + added) * scales + bias, clamped, for y (B * T, O, H, W).

    Attributes:
        bias: (O,) or none.
        scales: (B or 1, O) or none.
        added: (B, O, H, W) or none, the same for all frames of a video.
        slope: of negative values, at most 1; 1 is no leaky ReLU.
        clamp: bound on the absolute value, or none.
    """

    bias: Tensor | None = None
    scales: Tensor | None = None
    added: Tensor | None = None
    slope: float = 1.0
    clamp: float | None = None

    def __call__(self, y: Tensor) -> Tensor:
        """Overwrites `y`, which nobody else may need; differentiable, if y's making does not remember its result."""
        if self.added is not None:
            y.unflatten(0, (len(self.added), -1)).add_(self.added[:, None])
        bias = None if self.bias is None else self.bias.to(y.dtype)[None, :, None, None]
        if self.scales is not None:
            scales = self.scales.to(y.dtype).repeat_interleave(len(y) // len(self.scales), dim=0)[:, :, None, None]
            y = y * scales if bias is None else torch.addcmul(bias, y, scales)
        elif bias is not None:
            y = y.add_(bias)
        return activate_(y, self.slope, self.clamp)

    def arrays(self, y: Tensor) -> tuple[Any, ...]:
        """added (B, H, W O), scales (B, O), bias (O,), slope and clamp, as the compiled loops take them for y.

        Raises:
            ValueError: the parts do not fit y (N, O, H, W) of N / B frames a video.
        """
        channels, dtype = y.shape[1], y.dtype
        bias = torch.zeros(channels, dtype=dtype) if self.bias is None else self.bias.to(dtype)
        scales = torch.ones(1, channels, dtype=dtype) if self.scales is None else self.scales.to(dtype)
        added = torch.empty(0, 0, 0, dtype=dtype)
        if self.added is not None:
            added = rows_of(self.added.to(dtype))
            scales = scales.expand(len(added), -1)
            if self.added.shape[1:] != y.shape[1:]:
                raise ValueError(f"added has the shape {tuple(self.added.shape)}, the result {tuple(y.shape)}")
        if bias.shape != (channels,) or scales.shape[1:] != (channels,) or len(y) % len(scales):
            raise ValueError(
                f"bias {tuple(bias.shape)} and scales {tuple(scales.shape)} do not fit the result {tuple(y.shape)}"
            )
        number = np.float32 if dtype == torch.float32 else np.float64
        clamp = number(math.inf if self.clamp is None else self.clamp)
        return _numpy(added), _numpy(scales), _numpy(bias), number(self.slope), clamp


NOTHING = Epilogue()
"""Leaves a convolution as it is."""


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()
