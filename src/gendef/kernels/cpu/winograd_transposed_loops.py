"""The steps around the matrix products of a transposed convolution by F(4, 2), compiled.

Maps are laid out as in `winograd_loops`.
"""

# mypy: ignore-errors
# Types are numba's, found when it compiles.

from gendef.kernels.cpu.simd import compiled, lanes_of, load, store
from gendef.kernels.cpu.winograd_loops import map_row


@compiled
def input_axis(a, b, c, d, e):
    """Five inputs of one axis, transformed: five."""
    step = d - b
    return (
        2.0 * a - b - 2.0 * c + d,
        step - b - c,
        2.0 * b - 3.0 * c + d,
        step,
        e - c - 2.0 * step,
    )


@compiled
def output_axis(a, b, c, d, e):
    """Five products of one axis, transformed back: four outputs."""
    even, odd = b + c, b - c
    return a + even + d, odd + 2.0 * d, even + 4.0 * d, odd + 8.0 * d + e


@compiled
def read_inputs(x, frame, frames, row, rows, columns, zero, across, both, down):
    """Transform what the tiles [row, row + rows) x [0, columns) of some frames read of x (N, H, W C), zero outside.

    zero (W C) is zero. The results: across (5, frames rows, W, C), the rows of tiles transformed along columns of the
    map; both (5, 5, count, C); down (5, frames rows 4, columns, C), the map's rows transformed along themselves.
    """
    channels = both.shape[3]
    lanes = lanes_of(x)
    height, wide = x.shape[1], x.shape[2] // channels
    tile = 0
    line = 0
    for n in range(frame, frame + frames):
        for r in range(row, row + rows):
            top = 4 * r - 1
            x0, x1, x2 = map_row(x, n, top, zero), map_row(x, n, top + 1, zero), map_row(x, n, top + 2, zero)
            x3, x4 = map_row(x, n, top + 3, zero), map_row(x, n, top + 4, zero)
            h0, h1, h2 = across[0, line].ravel(), across[1, line].ravel(), across[2, line].ravel()
            h3, h4 = across[3, line].ravel(), across[4, line].ravel()
            for start in range(0, wide * channels, lanes):
                k = min(start, wide * channels - lanes)
                y0, y1, y2, y3, y4 = input_axis(load(x0, k), load(x1, k), load(x2, k), load(x3, k), load(x4, k))
                store(h0, k, y0)
                store(h1, k, y1)
                store(h2, k, y2)
                store(h3, k, y3)
                store(h4, k, y4)
            for column in range(columns):
                for i in range(5):
                    own = across[i, line].ravel()
                    target = both[i, :, tile]
                    _read_columns(own, 4 * column - 1, wide, channels, lanes, zero, target)
                for i in range(4):
                    own = x[n, 4 * r + i] if 4 * r + i < height else zero
                    target = down[:, 4 * line + i, column]
                    _read_columns(own, 4 * column - 1, wide, channels, lanes, zero, target)
                tile += 1
            line += 1


@compiled
def _read_columns(row, column, wide, channels, lanes, zero, target):
    """Columns [column, column + 5) of a row, transformed: target (5, C)."""
    for start in range(0, channels, lanes):
        k = min(start, channels - lanes)
        at = column * channels + k
        y0, y1, y2, y3, y4 = input_axis(
            load(row, at) if column >= 0 else load(zero, 0),
            load(row, at + channels),
            load(row, at + 2 * channels) if column + 2 < wide else load(zero, 0),
            load(row, at + 3 * channels) if column + 3 < wide else load(zero, 0),
            load(row, at + 4 * channels) if column + 4 < wide else load(zero, 0),
        )
        store(target[0], k, y0)
        store(target[1], k, y1)
        store(target[2], k, y2)
        store(target[3], k, y3)
        store(target[4], k, y4)


@compiled
def write_outputs(both, across, down, single, y, frame, frames, row, rows, columns, half):
    """Transform the products back and place them in y (N, 2 H + 1, (2 W + 1) O), but for its last row and column.

    both (5, 5, count, O), across (5, frames rows, W, O), down (5, frames rows 4, columns, O), single (frames, rows of
    the map, W, O); half (4 * 5 * lanes) is overwritten.
    """
    channels = both.shape[3]
    lanes = lanes_of(y)
    deep, wide = y.shape[1] // 2, y.shape[2] // channels // 2
    tile = 0
    line = 0
    for n in range(frame, frame + frames):
        for r in range(row, row + rows):
            high = min(4, deep - 4 * r)
            for column in range(columns):
                broad = min(4, wide - 4 * column)
                for start in range(0, channels, lanes):
                    k = min(start, channels - lanes)
                    for j in range(5):
                        z = output_axis(
                            load(both[0, j, tile], k),
                            load(both[1, j, tile], k),
                            load(both[2, j, tile], k),
                            load(both[3, j, tile], k),
                            load(both[4, j, tile], k),
                        )
                        store(half, j * lanes, z[0])
                        store(half, (5 + j) * lanes, z[1])
                        store(half, (10 + j) * lanes, z[2])
                        store(half, (15 + j) * lanes, z[3])
                    for i in range(high):
                        at = 5 * i * lanes
                        z = output_axis(
                            load(half, at),
                            load(half, at + lanes),
                            load(half, at + 2 * lanes),
                            load(half, at + 3 * lanes),
                            load(half, at + 4 * lanes),
                        )
                        _spread(z, y[n, 2 * (4 * r + i)], 8 * column * channels + k, 2 * channels, broad)
                    for i in range(high):
                        own = down[:, 4 * line + i, column]
                        z = output_axis(
                            load(own[0], k), load(own[1], k), load(own[2], k), load(own[3], k), load(own[4], k)
                        )
                        _spread(z, y[n, 2 * (4 * r + i) + 1], 8 * column * channels + k, 2 * channels, broad)
                    for j in range(broad):
                        own = across[:, line, 4 * column + j]
                        z = output_axis(
                            load(own[0], k), load(own[1], k), load(own[2], k), load(own[3], k), load(own[4], k)
                        )
                        at = (2 * (4 * column + j) + 1) * channels + k
                        store(y[n, 8 * r], at, z[0])
                        if high > 1:
                            store(y[n, 8 * r + 2], at, z[1])
                        if high > 2:
                            store(y[n, 8 * r + 4], at, z[2])
                        if high > 3:
                            store(y[n, 8 * r + 6], at, z[3])
                    for i in range(high):
                        own = single[n - frame, 4 * (r - row) + i]
                        for j in range(broad):
                            at = (2 * (4 * column + j) + 1) * channels + k
                            store(y[n, 2 * (4 * r + i) + 1], at, load(own[4 * column + j], k))
                tile += 1
            line += 1


@compiled
def _spread(values, row, at, step, count):
    """Store `count` of four vectors, `step` values apart."""
    store(row, at, values[0])
    if count > 1:
        store(row, at + step, values[1])
    if count > 2:
        store(row, at + 2 * step, values[2])
    if count > 3:
        store(row, at + 3 * step, values[3])
