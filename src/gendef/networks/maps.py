"""Feature maps as the compiled loops take them: channels last in memory, new memory that is soon used again."""

import math

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes: a vector of the loops, a cache line."""


def rows_of(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W * C), without a copy if it is channels last in memory."""
    return x.detach().permute(0, 2, 3, 1).contiguous().flatten(2)


def empty_map(batch: int, channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised (N, C, H, W) of float32 or float64 on the CPU, channels last in memory.

    torch asks for aligned memory, and glibc gives such a request more than its size: a freed map's place is too small
    for the next map of the same size, which then takes new pages. numpy asks for plain memory.
    """
    kind = np.dtype(np.float32 if dtype == torch.float32 else np.float64)
    shape = batch, height, width, channels
    size = math.prod(shape) * kind.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    # Shaped before torch sees it, as results of autograd functions may not be views.
    return torch.from_numpy(memory[start : start + size].view(kind).reshape(shape).transpose(0, 3, 1, 2))
