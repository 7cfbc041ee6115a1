"""The steps around the matrix products of Winograd's F(4x4, 3x3), compiled: reading tiles, writing outputs.

Maps are (frames, rows, values of a row), channels last: a row has `channels` values of each column. Vectors cover the
channels; the last vector ends with the last channel and overlaps the one before, so that no single values remain.
"""

# mypy: ignore-errors
# numba infers the types when it compiles.

from gendef.kernels.cpu.simd import compiled, lanes_of, load, prefetch, store

PREFETCH_COLUMNS = 8
"""Columns between those that are written and those whose memory is fetched ahead. Not tuned."""


@compiled
def input_axis(a, b, c, d, e, f):
    """Six inputs of one axis, transformed: six."""
    even, odd = e - 4.0 * c, d - 4.0 * b
    wide, step = e - c, d - b
    return (
        4.0 * a - 5.0 * c + e,
        even + odd,
        even - odd,
        wide + 2.0 * step,
        wide - 2.0 * step,
        4.0 * b - 5.0 * d + f,
    )


@compiled
def output_axis(a, b, c, d, e, f):
    """Six products of one axis, transformed back: four outputs."""
    even, odd = b + c, b - c
    wide, step = d + e, d - e
    return a + even + wide, odd + 2.0 * step, even + 4.0 * wide, odd + 8.0 * step + f


@compiled
def gradient_axis(a, b, c, d):
    """The transpose of `output_axis`: four gradients of outputs, six of products."""
    even, odd = a + c, b + d
    wide, step = a + 4.0 * c, 2.0 * b + 8.0 * d
    return a, even + odd, even - odd, wide + step, wide - step, d


@compiled
def kernel_axis(a, b, c):
    """Three weights of one axis, transformed: six."""
    ends, wide = a + c, a + 4.0 * c
    return (
        a * (1 / 4),
        (ends + b) * (-1 / 6),
        (b - ends) * (1 / 6),
        (wide + 2.0 * b) * (1 / 24),
        (wide - 2.0 * b) * (1 / 24),
        c,
    )


@compiled
def _store_six(target, at, values):
    """Six vectors to target (6, C), channels from `at` on."""
    store(target[0], at, values[0])
    store(target[1], at, values[1])
    store(target[2], at, values[2])
    store(target[3], at, values[3])
    store(target[4], at, values[4])
    store(target[5], at, values[5])


@compiled
def write_kernel(weight, first, last, half, kernel):
    """Transform input channels [first, last) of weight (I, 3, 3, O): kernel (6, 6, I, O); half (6 * 3 * lanes)."""
    made = weight.shape[3]
    lanes = lanes_of(weight)
    for channel in range(first, last):
        for start in range(0, made, lanes):
            k = min(start, made - lanes)
            for j in range(3):
                y = kernel_axis(
                    load(weight[channel, 0, j], k), load(weight[channel, 1, j], k), load(weight[channel, 2, j], k)
                )
                store(half, j * lanes, y[0])
                store(half, (3 + j) * lanes, y[1])
                store(half, (6 + j) * lanes, y[2])
                store(half, (9 + j) * lanes, y[3])
                store(half, (12 + j) * lanes, y[4])
                store(half, (15 + j) * lanes, y[5])
            for i in range(6):
                at = 3 * i * lanes
                y = kernel_axis(load(half, at), load(half, at + lanes), load(half, at + 2 * lanes))
                _store_six(kernel[i, :, channel], k, y)


@compiled
def map_row(x, frame, row, zero):
    """A row of x (N, H, W C), or `zero` (W C) outside."""
    return x[frame, row] if 0 <= row < x.shape[1] else zero


@compiled
def read_tiles(x, frame, frames, row, rows, columns, padding, half, zero, tiles):
    """Transform what the tiles [row, row + rows) x [0, columns) of some frames read of x (N, H, W C), zero outside.

    half (6, (4 columns + 2) C) is overwritten, zero (W C) is zero, tiles (6, 6, frames rows columns, C) is the result.
    """
    channels = tiles.shape[3]
    lanes = lanes_of(x)
    wide = (4 * columns + 2) * channels
    left = padding * channels
    right = min(left + x.shape[2], wide)
    half[:, :left] = 0
    half[:, right:] = 0
    tile = 0
    for n in range(frame, frame + frames):
        for r in range(row, row + rows):
            top = 4 * r - padding
            x0, x1, x2 = map_row(x, n, top, zero), map_row(x, n, top + 1, zero), map_row(x, n, top + 2, zero)
            x3, x4, x5 = map_row(x, n, top + 3, zero), map_row(x, n, top + 4, zero), map_row(x, n, top + 5, zero)
            for start in range(0, right - left, lanes):
                k = min(start, right - left - lanes)
                y0, y1, y2, y3, y4, y5 = input_axis(
                    load(x0, k), load(x1, k), load(x2, k), load(x3, k), load(x4, k), load(x5, k)
                )
                k += left
                store(half[0], k, y0)
                store(half[1], k, y1)
                store(half[2], k, y2)
                store(half[3], k, y3)
                store(half[4], k, y4)
                store(half[5], k, y5)
            for column in range(columns):
                for i in range(6):
                    own = half[i]
                    for start in range(0, channels, lanes):
                        k = min(start, channels - lanes)
                        at = 4 * column * channels + k
                        y0, y1, y2, y3, y4, y5 = input_axis(
                            load(own, at),
                            load(own, at + channels),
                            load(own, at + 2 * channels),
                            load(own, at + 3 * channels),
                            load(own, at + 4 * channels),
                            load(own, at + 5 * channels),
                        )
                        _store_six(tiles[i, :, tile], k, (y0, y1, y2, y3, y4, y5))
                tile += 1


@compiled
def read_gradients(grad, frame, frames, row, rows, columns, half, zero, tiles):
    """The transpose of `write_tiles` without an epilogue: grad (N, H', W' O) -> tiles (6, 6, count, O).

    half (6 * 4 * lanes) is overwritten, zero (W' O) is zero.
    """
    channels = tiles.shape[3]
    lanes = lanes_of(grad)
    wide = grad.shape[2] // channels
    tile = 0
    for n in range(frame, frame + frames):
        for r in range(row, row + rows):
            g0, g1 = map_row(grad, n, 4 * r, zero), map_row(grad, n, 4 * r + 1, zero)
            g2, g3 = map_row(grad, n, 4 * r + 2, zero), map_row(grad, n, 4 * r + 3, zero)
            for column in range(columns):
                for start in range(0, channels, lanes):
                    k = min(start, channels - lanes)
                    for j in range(4):
                        inside = 4 * column + j < wide
                        at = (4 * column + j) * channels + k if inside else 0
                        y0, y1, y2, y3, y4, y5 = gradient_axis(
                            load(g0 if inside else zero, at),
                            load(g1 if inside else zero, at),
                            load(g2 if inside else zero, at),
                            load(g3 if inside else zero, at),
                        )
                        store(half, j * lanes, y0)
                        store(half, (4 + j) * lanes, y1)
                        store(half, (8 + j) * lanes, y2)
                        store(half, (12 + j) * lanes, y3)
                        store(half, (16 + j) * lanes, y4)
                        store(half, (20 + j) * lanes, y5)
                    for i in range(6):
                        at = 4 * i * lanes
                        y0, y1, y2, y3, y4, y5 = gradient_axis(
                            load(half, at),
                            load(half, at + lanes),
                            load(half, at + 2 * lanes),
                            load(half, at + 3 * lanes),
                        )
                        _store_six(tiles[i, :, tile], k, (y0, y1, y2, y3, y4, y5))
                tile += 1


@compiled
def write_tiles(products, y, frame, frames, row, rows, columns, half):
    """Transform products (6, 6, count, O) back to y (N, H', W' O); half (4 * 6 * lanes) is overwritten."""
    channels = products.shape[3]
    lanes = lanes_of(y)
    wide = y.shape[2] // channels
    tile = 0
    for n in range(frame, frame + frames):
        for r in range(row, row + rows):
            for column in range(columns):
                for start in range(0, channels, lanes):
                    k = min(start, channels - lanes)
                    for j in range(6):
                        z0, z1, z2, z3 = output_axis(
                            load(products[0, j, tile], k),
                            load(products[1, j, tile], k),
                            load(products[2, j, tile], k),
                            load(products[3, j, tile], k),
                            load(products[4, j, tile], k),
                            load(products[5, j, tile], k),
                        )
                        store(half, j * lanes, z0)
                        store(half, (6 + j) * lanes, z1)
                        store(half, (12 + j) * lanes, z2)
                        store(half, (18 + j) * lanes, z3)
                    for i in range(min(4, y.shape[1] - 4 * r)):
                        at = 6 * i * lanes
                        z0, z1, z2, z3 = output_axis(
                            load(half, at),
                            load(half, at + lanes),
                            load(half, at + 2 * lanes),
                            load(half, at + 3 * lanes),
                            load(half, at + 4 * lanes),
                            load(half, at + 5 * lanes),
                        )
                        out = y[n, 4 * r + i]
                        ahead = (4 * column + PREFETCH_COLUMNS) * channels + k
                        prefetch(out, ahead)
                        prefetch(out, ahead + channels)
                        prefetch(out, ahead + 2 * channels)
                        prefetch(out, ahead + 3 * channels)
                        left = wide - 4 * column
                        at = 4 * column * channels + k
                        store(out, at, z0)
                        if left > 1:
                            at += channels
                            store(out, at, z1)
                        if left > 2:
                            at += channels
                            store(out, at, z2)
                        if left > 3:
                            at += channels
                            store(out, at, z3)
                tile += 1
