"""Leaky ReLU and clamp in place, in one pass, with a gradient that needs nothing but what they gave."""

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from gendef.kernels.cpu import leaky_relu_loops as loops
from gendef.kernels.cpu.buffers import empty_map, readable, rows_of
from gendef.kernels.cpu.threads import for_each, useful_threads

MIN_VALUES = 2**21
"""Values of a map from which the loop is the faster way."""


def activate_(y: Tensor, slope: float, clamp: float | None) -> Tensor:
    """Leaky ReLU of `slope`, in (0, 1] and 1 for none, clamped to [-clamp, clamp]; `y` is overwritten.

    Differentiable to any order, if y's making does not remember its result. A value at the clamp passes no gradient.
    """
    if slope == 1.0 and clamp is None:
        return y
    records = torch.is_grad_enabled() and y.requires_grad
    if records and not y._is_view() and not torch.compiler.is_compiling() and not torch.jit.is_tracing():
        return cast(Tensor, _Activation.apply(y, slope, clamp))
    if not records:
        return _activated_(y, slope, clamp)
    y = F.leaky_relu(y, slope, inplace=True)
    return y if clamp is None else y.clamp(-clamp, clamp)


class _Activation(Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, slope: float, clamp: float | None) -> Tensor:
        y = _activated_(y, slope, clamp)
        ctx.mark_dirty(y)
        ctx.save_for_backward(y)
        ctx.form = slope, clamp
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _LetThrough.apply(grads[0], *ctx.saved_tensors, *ctx.form), None, None


class _LetThrough(Function):
    """Linear in the gradient, and its own adjoint."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor, slope: float, clamp: float | None) -> Tensor:
        ctx.save_for_backward(y)
        ctx.form = slope, clamp
        return _let_through(grad, y, slope, clamp)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _LetThrough.apply(grads[0], *ctx.saved_tensors, *ctx.form), None, None, None


def _activated_(y: Tensor, slope: float, clamp: float | None) -> Tensor:
    values = _in_a_row(y)
    if values is None:
        y = F.leaky_relu(y, slope, inplace=True) if slope != 1.0 else y
        return y if clamp is None else y.clamp_(-clamp, clamp)
    row = values.numpy()
    form = row.dtype.type(slope), row.dtype.type(math.inf if clamp is None else clamp)
    _in_shares(lambda low, high: loops.activate(row, low, high, *form), len(row))
    return y


def _let_through(grad: Tensor, y: Tensor, slope: float, clamp: float | None) -> Tensor:
    values = _in_a_row(y) if grad.dtype == y.dtype and readable(grad) else None
    if values is None:
        passed = torch.ops.aten.leaky_relu_backward(grad, y, slope, True)
        return passed if clamp is None else torch.where(y.abs() >= clamp, 0, passed)
    if y.is_contiguous():
        result = torch.empty_like(y)
        given, made = grad.contiguous().view(-1), result.view(-1)
    else:
        batch, channels, height, width = y.shape
        result = empty_map(batch, channels, height, width, y.dtype)
        given, made = rows_of(grad).view(-1), rows_of(result).view(-1)
    row, source, target = (x.detach().numpy() for x in (values, given, made))
    number = row.dtype.type
    form = number(slope), number(math.inf) if clamp is None else np.nextafter(number(clamp), number(0))
    _in_shares(lambda low, high: loops.let_through(source, row, target, low, high, *form), len(row))
    return result


def _in_a_row(y: Tensor) -> Tensor | None:
    """The values of y as they lie in memory, if the loops can take them and are the faster way."""
    if not readable(y) or y.dtype != torch.float32 or y.numel() < MIN_VALUES:
        return None
    if y.is_contiguous():
        return y.detach().view(-1)
    if y.dim() == 4 and y.is_contiguous(memory_format=torch.channels_last):
        return rows_of(y).view(-1)
    return None


def _in_shares(work: Callable[[int, int], None], count: int) -> None:
    threads = useful_threads(50 * count)
    share = -(-count // threads // 64) * 64 + 64
    for_each(lambda low: work(low, min(low + share, count)), range(0, count, share), threads)
