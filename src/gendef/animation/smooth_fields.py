"""Coarse key fields as smooth fields on a finer grid of nodes, and fields that must not fold."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from torch import Tensor

NODE_SPACING = 8
"""Distance of the nodes in pixels of the frames, at most."""
MOST_NODES = 128
"""Nodes along a side, at most: key fields have 16 cells, so that more would hold nothing new."""
LEAST_AREA = 0.1
"""Area factor of the sampling map below which a place counts as nearly folded."""
BLURS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Standard deviations, in cells of the key fields, that are tried until nothing folds."""


def node_counts(size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of nodes for frames of `size` (height, width)."""
    rows, columns = (min(max(-(-(side - 1) // NODE_SPACING) + 1, 2), MOST_NODES) for side in size)
    return min(rows, size[0]), min(columns, size[1])


def node_positions(counts: Sequence[int], size: Sequence[int]) -> Tensor:
    """Normalised coordinates (rows, columns, 2) of the nodes: evenly from the first pixel's centre to the last's."""
    rows, columns = (_line(count, pixels) for count, pixels in zip(counts, size, strict=True))
    grid = np.stack(np.broadcast_arrays(columns[None, :], rows[:, None]), axis=-1)
    return torch.from_numpy(grid.astype(np.float32))


def _line(count: int, pixels: int) -> np.ndarray:
    return np.linspace(1 / pixels - 1, 1 - 1 / pixels, count)


def on_nodes(fields: Tensor, counts: Sequence[int], size: Sequence[int], view: float = 1.0) -> Tensor:
    """Fields (T, h, w, 2) with values at the centres of their cells -> (T, rows, columns, 2) at the nodes.

    By natural cubic splines, which go on as straight lines from the outer centres to the borders.

    Args:
        counts, size: nodes and pixels along each side, height first.
        view: only the middle part of the picture of this share of its sides lies under the nodes.
    """
    weights = [
        _spline(cells, view * _line(count, pixels))
        for cells, count, pixels in zip(fields.shape[1:3], counts, size, strict=True)
    ]
    return torch.einsum("yh,xw,thwc->tyxc", *weights, fields)


def _spline(cells: int, places: np.ndarray) -> Tensor:
    """Weights (N, cells) of values at the centres of cells in the natural cubic spline at normalised places (N,)."""
    if cells == 1:
        return torch.ones(len(places), 1)
    centres = (2 * np.arange(cells) + 1) / cells - 1
    spline = CubicSpline(centres, np.eye(cells), bc_type="natural")
    inside = places.clip(centres[0], centres[-1])
    values = spline(inside) + spline(inside, 1) * (places - inside)[:, None]
    return torch.from_numpy(values.astype(np.float32))


def at_points(fields: Tensor, points: Tensor) -> Tensor:
    """Offsets of fields (T, h, w, 2) at normalised points (N, 2), by the same splines as `on_nodes`: (T, N, 2)."""
    weights = [
        _spline(cells, points[:, axis].double().numpy()) for cells, axis in zip(fields.shape[1:3], (1, 0), strict=True)
    ]
    return torch.einsum("nh,nw,thwc->tnc", *weights, fields)


def area_factors(nodes: Tensor, size: Sequence[int]) -> Tensor:
    """Local area factor of the sampling map between nodes, (T, rows, columns, 2) -> (T, rows - 1, columns - 1).

    1 for the zero field; zero or less where it folds.
    """
    places = node_positions(nodes.shape[1:3], size) + nodes
    along_x = places[:, :-1, 1:] - places[:, :-1, :-1]
    along_y = places[:, 1:, :-1] - places[:, :-1, :-1]
    cell = node_positions(nodes.shape[1:3], size)
    unit = (cell[0, 1, 0] - cell[0, 0, 0]) * (cell[1, 0, 1] - cell[0, 0, 1])
    return (along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]) / unit


def unfolded(fields: Tensor, shown: Tensor, size: Sequence[int]) -> Tensor:
    """Fields (T, h, w, 2), blurred as little as possible so that nothing that is shown folds.

    Args:
        shown: (rows, columns) bool, nodes that are shown.
        size: height and width of the frames.
    """
    counts = (shown.shape[0], shown.shape[1])
    counted = shown[:-1, :-1] | shown[1:, 1:] | shown[1:, :-1] | shown[:-1, 1:]
    for blur in (0.0, *BLURS):
        values = fields
        if blur:
            values = torch.from_numpy(gaussian_filter(fields.numpy(), (0, blur, blur, 0), mode="nearest"))
        areas = area_factors(on_nodes(values, counts, size), size)
        if not bool(((areas < LEAST_AREA) & counted).any()):
            return values
    return fields.mean(dim=(1, 2), keepdim=True).expand_as(fields).clone()
