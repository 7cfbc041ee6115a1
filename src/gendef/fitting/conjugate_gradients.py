"""Preconditioned conjugate gradients for the linear systems of the fit."""

from collections.abc import Callable

from torch import Tensor

SMALLEST = 1e-20
"""Lower limit of denominators, so that a system that is solved already gives no division by zero."""

Scalar = float | Tensor
"""A float for one system; a tensor that broadcasts over its unknowns for several independent ones."""


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Tensor,
    iterations: int,
    *,
    start: Tensor | None = None,
    precondition: Callable[[Tensor], Tensor] = lambda residual: residual,
    product: Callable[[Tensor, Tensor], Scalar],
    tolerance: float = 0.0,
) -> Tensor:
    """Solve A x = right for a symmetric positive definite A (Hestenes and Stiefel 1952).

    Args:
        apply: x -> A x. Its result is read before the next call, so that it may be the same buffer every time.
        right: right side.
        iterations: at most so many.
        start: first guess; default zero.
        precondition: residual -> approximate solution; its result may be the same buffer every time.
        product: inner product of two tensors like `right`, a `Scalar`.
        tolerance: stop when the squared norm of the residual, in the preconditioner's metric, is at most this.

    Returns:
        x, a new tensor like `right`.
    """
    solution = right.new_zeros(right.shape) if start is None else start.clone()
    residual = right.clone() if start is None else right - apply(solution)
    scaled = precondition(residual)
    direction = scaled.clone()
    energy = product(residual, scaled)
    for _ in range(iterations):
        if tolerance and float(energy) <= tolerance:
            break
        image = apply(direction)
        step = energy / _positive(product(direction, image))
        _add_scaled(solution, direction, step)
        _add_scaled(residual, image, -step)
        scaled = precondition(residual)
        after = product(residual, scaled)
        direction.mul_(after / _positive(energy)).add_(scaled)
        energy = after
    return solution


def _positive(value: Scalar) -> Scalar:
    return value.clamp(min=SMALLEST) if isinstance(value, Tensor) else max(value, SMALLEST)


def _add_scaled(target: Tensor, other: Tensor, factor: Scalar) -> None:
    """Add factor times `other` in place."""
    if isinstance(factor, Tensor):
        target += factor * other
    else:
        target.add_(other, alpha=factor)
