"""Leaky ReLU with a clamp, and what it lets through of a gradient, compiled: one pass over values in a row."""

# mypy: ignore-errors
# Types are numba's, found when it compiles.

from gendef.kernels.cpu.simd import compiled, lanes_of, largest, load, smallest, store, where_greater


@compiled
def activate(y, low, high, slope, clamp):
    """Overwrite y[low:high] with its leaky ReLU of `slope`, at most 1, clamped to [-clamp, clamp]; NaN stays."""
    lanes = lanes_of(y)
    whole = low + (high - low) // lanes * lanes
    for at in range(low, whole, lanes):
        value = load(y, at)
        store(y, at, smallest(clamp, largest(-clamp, largest(slope * value, value))))
    for at in range(whole, high):
        value = y[at] if y[at] > 0 else slope * y[at]
        y[at] = clamp if value > clamp else (-clamp if value < -clamp else value)


@compiled
def let_through(grad, y, result, low, high, slope, most):
    """result[low:high]: of the gradient of what `activate` gave as y, what is that of its input; 0 where |y| > most.

    NaN counts as a negative value.
    """
    lanes = lanes_of(y)
    whole = low + (high - low) // lanes * lanes
    for at in range(low, whole, lanes):
        value, own = load(y, at), load(grad, at)
        passed = where_greater(value, 0.0, own, slope * own)
        store(result, at, where_greater(value, most, 0.0 * slope, where_greater(-most, value, 0.0 * slope, passed)))
    for at in range(whole, high):
        value = y[at]
        if value > most or value < -most:
            result[at] = 0
        else:
            result[at] = grad[at] if value > 0 else slope * grad[at]
