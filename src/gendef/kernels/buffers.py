"""Feature maps for the compiled loops: channels last in memory, in memory that is reused soon."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor

VECTOR_BYTES = 64
"""Size of a vector of the compiled loops: 16 values of float32 or 8 of float64. Also a cache line."""
ALIGNMENT = VECTOR_BYTES
"""Bytes between the starts of maps."""


def rows_of(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W * C), without a copy if it is channels last in memory."""
    return x.detach().permute(0, 2, 3, 1).contiguous().flatten(2)


def readable(x: Tensor) -> bool:
    """Whether compiled loops can read x: on a CPU, and values are there (not while a graph is traced or compiled)."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) not in (Tensor, torch.nn.Parameter):
        return False
    return x.device.type == "cpu"


def empty_map(batch: int, channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised (N, C, H, W) on the CPU, channels last in memory; see `empty`."""
    return torch.from_numpy(_empty((batch, height, width, channels), dtype).transpose(0, 3, 1, 2))


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised float32 or float64 on the CPU.

    torch asks for aligned memory, and glibc gives such a request more than its size: a freed map's place is too small
    for the next map of the same size, which then takes new pages. numpy asks for plain memory.
    """
    return torch.from_numpy(_empty(shape, dtype))


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> np.ndarray:
    """Shaped before torch sees it, as results of autograd functions may not be views."""
    kind = np.dtype(np.float32 if dtype == torch.float32 else np.float64)
    size = math.prod(shape) * kind.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(kind).reshape(shape)


Table = dict[str, Tensor]

_own = threading.local()


@contextmanager
def workspaces(table: Table) -> Iterator[None]:
    """During the block, the calling thread's workspaces are kept in `table`."""
    before = _table()
    _own.table = table
    try:
        yield
    finally:
        _own.table = before


def _table() -> Table:
    if not hasattr(_own, "table"):
        _own.table = {}
    return cast(Table, _own.table)


def workspace(name: str, like: Tensor, *shape: int) -> Tensor:
    """Memory of the calling thread, of the type of `like`, until it asks for the same name again.

    New memory would cost as much time as the loops.
    """
    size, table = math.prod(shape), _table()
    key = f"{name} {like.dtype}"
    held = table.get(key)
    if held is None or held.numel() < size:
        with torch.inference_mode(False):  # what is made in that mode could not be written to outside of it
            held = empty(size, dtype=like.dtype)
        table[key] = held
    return held[:size].view(shape)
