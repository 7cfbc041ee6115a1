"""3x3 convolutions of stride 1."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.kernels.buffers import VECTOR_BYTES, readable
from gendef.kernels.registry import FastForm, Kernel

WINOGRAD_CHANNELS = 96
"""Fewest input and output channels with which Winograd's convolution is faster (`benchmarks/kernels.py operations`)."""
WINOGRAD_TILES = 48
"""Fewest tiles of 4x4 pixels, in all images together."""
TILE = 4


def _direct(x: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """x (N, I, H, W), weight (O, I, K, K) -> (N, O, H', W')."""
    return F.conv2d(x, weight, padding=padding)


def winograd_suits(x: Tensor, weight: Tensor, padding: int = 0) -> bool:
    """Whether Winograd's convolution takes x (N, I, H, W) and weight (O, I, K, K), and is faster than a direct one."""
    if weight.shape[2:] != (3, 3) or x.dtype != torch.float32 or weight.dtype != torch.float32 or not readable(x):
        return False
    if torch.is_autocast_enabled("cpu"):  # autocast is for torch's own convolutions
        return False
    channels = min(x.shape[1], len(weight))
    if channels < max(WINOGRAD_CHANNELS, VECTOR_BYTES // 4):
        return False
    return len(x) * -(-x.shape[2] // TILE) * -(-x.shape[3] // TILE) >= WINOGRAD_TILES


conv2d = Kernel(
    "conv2d",
    _direct,
    FastForm("Winograd's convolution", "cpu.winograd:winograd_conv2d", winograd_suits),
)
