"""The [1, 3, 3, 1] filter in both axes, compiled. Maps are laid out as in `winograd_loops`."""

# mypy: ignore-errors
# Types are numba's, found when it compiles.

import numpy as np

from gendef.kernels.cpu.simd import compiled, lanes_of, load, store
from gendef.kernels.cpu.winograd_loops import finish


@compiled
def smooth(x, y, first, frame, low, high, padding, outer, ring, added, scales, bias, slope, clamp):
    """Rows [low, high) of y (N, H', W' C), frame first + frame: x (F, H, W C), frame `frame`, filtered, then `finish`.

    Zero outside; outer is the weight of the outer taps, a third of that of the inner ones. ring (4, W' C) is
    overwritten.
    """
    channels = bias.size
    lanes = lanes_of(y)
    video = (first + frame) // (y.shape[0] // scales.shape[0])
    nothing = np.empty(0, y.dtype)
    zero = np.zeros(lanes, y.dtype)
    inner = 3 * outer
    for line in range(low - padding, high - padding + 3):
        own = ring[line % 4]
        if line < 0 or line >= x.shape[1]:
            own[:] = 0
        else:
            _smooth_row(x[frame, line], own, channels, lanes, padding, outer, zero)
        row = line + padding - 3
        if row < low:
            continue
        more = added[video, row] if added.size > 0 else nothing
        a, b, c, d = ring[(line - 3) % 4], ring[(line - 2) % 4], ring[(line - 1) % 4], own
        out = y[first + frame, row]
        for column in range(y.shape[2] // channels):
            for start in range(0, channels, lanes):
                k = min(start, channels - lanes)
                at = column * channels + k
                value = outer * (load(a, at) + load(d, at)) + inner * (load(b, at) + load(c, at))
                store(out, at, finish(value, more, at, load(scales[video], k), load(bias, k), slope, clamp))


@compiled
def _smooth_row(x, y, channels, lanes, padding, outer, zero):
    """x (W C) -> y (W' C); column i reads columns i - padding to i - padding + 3."""
    wide = x.size // channels
    inner = 3 * outer
    for column in range(y.size // channels):
        left = column - padding
        if left >= 0 and left + 3 < wide:
            continue
        for start in range(0, channels, lanes):
            k = min(start, channels - lanes)
            at = left * channels + k
            a = load(x, at) if 0 <= left < wide else load(zero, 0)
            b = load(x, at + channels) if 0 <= left + 1 < wide else load(zero, 0)
            c = load(x, at + 2 * channels) if 0 <= left + 2 < wide else load(zero, 0)
            d = load(x, at + 3 * channels) if 0 <= left + 3 < wide else load(zero, 0)
            store(y, column * channels + k, outer * (a + d) + inner * (b + c))
    for start in range(0, (wide - 3) * channels, lanes):
        at = min(start, (wide - 3) * channels - lanes)
        ends = load(x, at) + load(x, at + 3 * channels)
        store(y, at + padding * channels, outer * ends + inner * (load(x, at + channels) + load(x, at + 2 * channels)))
