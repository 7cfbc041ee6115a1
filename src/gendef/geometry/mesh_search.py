"""All places at which a mesh of bilinear cells takes a given value.

Between the pixel centres a field is bilinear, so its sampling map is a mesh of bilinear cells, one per quad of
neighbouring pixel centres. A search in a tree of bounding boxes finds the cells that may contain a target; each cell
then gives a quadratic equation. Canonical positions are measured in pixels of the frame (normalised coordinates scaled
to the frame's size).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 0.05
"""Largest residual of a solution, in pixels."""
ROOT_SIDE = 6
"""Largest number of rows and of columns of boxes at the root of the tree."""


def build_mesh(deformation: Tensor) -> Tensor:
    """Sampling positions (T, 2, h, w) in frame pixels at pixels -1, 0, 1, ...; border offsets are repeated.

    The mesh has an even number of cells along each axis and extends one pixel, or two, beyond the frame.
    """
    frames, height, width = deformation.shape[:3]
    rows, columns = height + 3 - height % 2, width + 3 - width % 2
    half = torch.tensor([width / 2, height / 2], dtype=deformation.dtype, device=deformation.device)
    mesh = deformation.new_empty(frames, 2, rows, columns)
    torch.mul(deformation.movedim(-1, 1), half[:, None, None], out=mesh[:, :, 1 : height + 1, 1 : width + 1])
    mesh[:, :, 1 : height + 1, 0] = mesh[:, :, 1 : height + 1, 1]
    mesh[:, :, 1 : height + 1, width + 1 :] = mesh[:, :, 1 : height + 1, width, None]
    mesh[:, :, 0] = mesh[:, :, 1]
    mesh[:, :, height + 1 :] = mesh[:, :, height, None]
    mesh[:, 0] += torch.arange(-1, columns - 1, device=mesh.device)
    mesh[:, 1] += torch.arange(-1, rows - 1, device=mesh.device)[:, None]
    return mesh


def solve(mesh: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All solutions for targets (T, N, 2): frame index (K,), target index (K,) and position (K, 2) in pixels."""
    levels = _box_tree(mesh)
    reach = torch.cat((-targets, targets), dim=-1)  # a box contains the target if all its numbers are at least these
    root = levels[0].flatten(2)
    hits = root[:, 0, None] >= reach[:, :, 0, None]
    for side in range(1, 4):
        hits &= root[:, side, None] >= reach[:, :, side, None]
    frame, point, block = hits.nonzero(as_tuple=True)
    row, column = block // levels[0].shape[3], block % levels[0].shape[3]
    for boxes in levels[1:]:
        frame, point, row, column = _children(frame, point, row, column)
        height, width = boxes.shape[2:]
        index = (frame * 4 * height + row) * width + column
        inside = _within(boxes.reshape(-1), index, height * width, reach[frame, point])
        frame, point, row, column = frame[inside], point[inside], row[inside], column[inside]
    frame, point, row, column = _children(frame, point, row, column)
    return _solve_cells(mesh, targets, frame, point, row, column)


def _box_tree(mesh: Tensor) -> list[Tensor]:
    """Bounding boxes of blocks of 2 x 2, 4 x 4, ... cells, coarsest level first.

    Each level is (T, 4, h, w) of (-x_min, -y_min, x_max, y_max), so that merging is a maximum. Block (row, column)
    of one level contains the four blocks from (2 row, 2 column) on of the next. Odd levels are padded with empty boxes.
    """
    corners = torch.cat((-mesh, mesh), dim=1)
    rows = torch.maximum(corners[:, :, :-2:2], corners[:, :, 2::2])
    rows = torch.maximum(rows, corners[:, :, 1::2])
    boxes = torch.maximum(torch.maximum(rows[..., :-2:2], rows[..., 2::2]), rows[..., 1::2])
    levels = [boxes]
    while max(boxes.shape[2:]) > ROOT_SIDE:
        height, width = boxes.shape[2:]
        boxes = F.pad(boxes, (0, width % 2, 0, height % 2), value=float("-inf"))
        levels[-1] = boxes
        rows = torch.maximum(boxes[:, :, ::2], boxes[:, :, 1::2])
        boxes = torch.maximum(rows[..., ::2], rows[..., 1::2])
        levels.append(boxes)
    return levels[::-1]


def _children(frame: Tensor, point: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four children of each block."""
    down = torch.tensor([0, 0, 1, 1], device=row.device)
    right = torch.tensor([0, 1, 0, 1], device=row.device)
    rows, columns = (2 * row[:, None] + down).flatten(), (2 * column[:, None] + right).flatten()
    return frame.repeat_interleave(4), point.repeat_interleave(4), rows, columns


def _within(flat: Tensor, index: Tensor, stride: int, reach: Tensor) -> Tensor:
    """Indices of the boxes, stored as four planes `stride` apart, that contain their target."""
    inside = flat[index] >= reach[:, 0]
    for side in range(1, 4):
        inside &= flat[index + side * stride] >= reach[:, side]
    return inside.nonzero()[:, 0]


def _solve_cells(
    mesh: Tensor, targets: Tensor, frame: Tensor, point: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The roots of each candidate cell's quadratic equation that lie in the cell.

    A cell is P(u, v) = corner + u along_x + v along_y + u v twist. The cross product of offset = P - corner with
    along_x + v twist eliminates u and leaves a quadratic equation in v.
    """
    height, width = mesh.shape[2:]
    flat = mesh.reshape(-1)
    index = ((frame * 2 * height + row) * width + column)[:, None] + torch.tensor(
        [0, height * width], device=mesh.device
    )
    wanted = targets[frame, point]
    nodes = [flat[index + shift] for shift in (0, 1, width, width + 1)]
    low = torch.minimum(torch.minimum(nodes[0], nodes[1]), torch.minimum(nodes[2], nodes[3]))
    high = torch.maximum(torch.maximum(nodes[0], nodes[1]), torch.maximum(nodes[2], nodes[3]))
    near = ((low <= wanted) & (wanted <= high)).all(dim=-1).nonzero()[:, 0]
    frame, point, row, column = frame[near], point[near], row[near], column[near]
    corner, right, below, opposite = (node[near].double() for node in nodes)
    along_x, along_y, twist = right - corner, below - corner, corner - right - below + opposite
    offset = wanted[near].double() - corner
    square = cross(twist, along_y)
    linear = cross(along_x, along_y) + cross(offset, twist)
    constant = cross(offset, along_x)
    root = (linear**2 - 4 * square * constant).clamp(min=0).sqrt()
    half_sum = -0.5 * (linear + torch.where(linear < 0, -root, root))
    solutions = []
    slack = 1e-5
    for v in (half_sum / square, constant / half_sum):
        side = along_x + v[:, None] * twist
        u = ((offset - v[:, None] * along_y) * side).sum(dim=-1) / (side * side).sum(dim=-1)
        inside = (u >= -slack) & (u <= 1 + slack) & (v >= -slack) & (v <= 1 + slack)  # False for NaN
        # Where the discriminant is negative the target lies beyond the cell's fold, and the clamped root misses it.
        missed = (offset - u[:, None] * along_x - v[:, None] * along_y - (u * v)[:, None] * twist).norm(dim=-1)
        kept = (inside & (missed < TOLERANCE / 2)).nonzero()[:, 0]
        position = torch.stack((column[kept] + u[kept].clamp(0, 1), row[kept] + v[kept].clamp(0, 1)), dim=-1) - 1
        solutions.append((frame[kept], point[kept], position.to(mesh.dtype)))
    frames, points, positions = (torch.cat(parts) for parts in zip(*solutions, strict=True))
    return frames, points, positions


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product of vectors (..., 2), (...)."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
