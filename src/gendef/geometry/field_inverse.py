"""Inverting a field: which place in a frame shows a given place of the canonical image.

Between the pixel centres a field is bilinear, so the sampling map is a mesh of bilinear cells, one per quad of
neighbouring pixel centres, and it can be inverted exactly: find the cells around a target in a tree of bounding boxes,
then solve each cell's quadratic equation. That finds every solution, so folds (several places that show the same
content) are known and not guessed. A ring of cells around the outer pixel centres carries the border offsets on.

Inside this file a canonical position is measured in pixels of the frame (normalised coordinates scaled to the frame's
size), so that distances in both spaces compare.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry.coordinates import identity_grid, sample, to_normalised, to_pixels
from gendef.geometry.sampling import bilinear_cell

CLOSED = 0.05
"""Residual, in pixels, up to which an inversion counts as closed."""
FOLD_DISTANCE = 1.0
"""Solutions further apart than this, in pixels, make a fold; nearer ones are one place."""
COARSEST = 6
"""Rows and columns of boxes at the root of the tree, at most."""
CHUNK_CELLS = 2**19
"""Mesh cells whose tree is held at a time."""


@dataclass(frozen=True)
class Inversion:
    """Where frames show canonical positions.

    Attributes:
        positions: (N, T, 2), pixels of the frames; where `valid` is False a best guess, maybe outside the picture.
        valid: (N, T), the inversion closes and the position lies in the picture.
        folded: (N, T), more than one place of the frame shows the point; `positions` holds the one nearest to the
            neighbouring frame's.
        residual: (N, T), distance in frame pixels between the point and what the field shows at the position.
    """

    positions: Tensor
    valid: Tensor
    folded: Tensor
    residual: Tensor


def invert_points(
    deformation: Tensor,
    points: Tensor,
    canonical_size: Sequence[int] | None = None,
    *,
    start: tuple[int, Tensor] | None = None,
) -> Inversion:
    """Find canonical positions in every frame, exactly.

    Args:
        deformation: (T, H, W, 2).
        points: (N, 2), pixels of the canonical image; or (N, T, 2), other ones for every frame.
        canonical_size: height and width of the canonical image; default the field's.
        start: a frame and the points' known positions (N, 2) in it, in pixels; where several places show a point, the
            nearest to these, and from there to those of the neighbouring frames, is taken. Default: frame 0 and the
            points themselves, scaled to the frame.

    Raises:
        InputError: shapes do not fit, a value is not finite, or the start frame does not exist.
    """
    targets = _checked_targets(deformation, points, canonical_size)
    count, frames = targets.shape[:2]
    field = deformation.detach().float()
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    step = max(CHUNK_CELLS // (field.shape[1] * field.shape[2]), 1)
    for first in range(0, frames, step):
        mesh = _mesh(field[first : first + step])
        frame, point, position = _solve(mesh, targets[:, first : first + step].transpose(0, 1))
        found.append((frame + first, point, position))
    frame, point, position = (torch.cat(parts) for parts in zip(*found, strict=True))
    anchor, reference = _checked_start(start, targets)
    positions, closed, folded = _select(frame, point, position, count, frames, anchor, reference)
    # What was not found is mostly outside the picture: guess from the last place known.
    who, when = (~closed).nonzero(as_tuple=True)
    positions[who, when] = _newton(field, when, targets[who, when], positions[who, when])[0]
    residual = _residual(field, targets, positions)
    valid = closed & (residual <= CLOSED) & _inside(positions, field.shape[1:3])
    return Inversion(positions, valid, folded, residual)


def _residual(field: Tensor, targets: Tensor, positions: Tensor) -> Tensor:
    """Distance between targets and what is shown at positions, (N, T)."""
    height, width = field.shape[1:3]
    half = torch.tensor([width / 2, height / 2], device=field.device)
    where = to_normalised(positions, (height, width)).transpose(0, 1)
    offset = sample(field.movedim(-1, 1), where).permute(2, 0, 1) * half  # (T, 2, N) -> (N, T, 2)
    return (positions + offset - targets).norm(dim=-1)


def _checked_targets(deformation: Tensor, points: Tensor, canonical_size: Sequence[int] | None) -> Tensor:
    """Targets (N, T, 2) in frame pixels."""
    if deformation.ndim != 4 or deformation.shape[-1] != 2:
        raise InputError(f"a field must be (T, H, W, 2), got {tuple(deformation.shape)}")
    frames, height, width = deformation.shape[:3]
    if points.ndim == 2:
        points = points[:, None].expand(-1, frames, -1)
    if points.ndim != 3 or points.shape[1:] != (frames, 2):
        raise InputError(f"points must be (N, 2) or (N, {frames}, 2), got {tuple(points.shape)}")
    if not torch.isfinite(points).all():
        raise InputError("the points hold values that are not finite")
    normalised = to_normalised(points.to(deformation.device).float(), canonical_size or (height, width))
    return to_pixels(normalised, (height, width))


def _checked_start(start: tuple[int, Tensor] | None, targets: Tensor) -> tuple[int, Tensor]:
    count, frames = targets.shape[:2]
    if start is None:
        return 0, targets[:, 0]
    frame, positions = start
    if not 0 <= frame < frames:
        raise InputError(f"the start frame must be between 0 and {frames - 1}, got {frame}")
    if positions.shape != (count, 2):
        raise InputError(f"start positions must be ({count}, 2), got {tuple(positions.shape)}")
    return frame, positions.to(targets)


def _mesh(deformation: Tensor) -> Tensor:
    """Sampling positions (T, 2, h, w) in frame pixels at pixels -1, 0, 1, ...; border offsets repeat.

    There are as many columns and rows as an even number of cells needs that reaches one pixel beyond the picture.
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


def _box_tree(mesh: Tensor) -> list[Tensor]:
    """Bounding boxes of blocks of two by two cells and of ever larger blocks, coarsest first.

    Each level is (T, 4, h, w) of (-x_min, -y_min, x_max, y_max), so that every step is a maximum. Block (row, column)
    of one level holds blocks (2 row, 2 column) and so on of the next; empty boxes fill up odd levels.
    """
    corners = torch.cat((-mesh, mesh), dim=1)
    rows = torch.maximum(corners[:, :, :-2:2], corners[:, :, 2::2])
    rows = torch.maximum(rows, corners[:, :, 1::2])
    boxes = torch.maximum(torch.maximum(rows[..., :-2:2], rows[..., 2::2]), rows[..., 1::2])
    levels = [boxes]
    while max(boxes.shape[2:]) > COARSEST:
        height, width = boxes.shape[2:]
        boxes = F.pad(boxes, (0, width % 2, 0, height % 2), value=float("-inf"))
        levels[-1] = boxes
        rows = torch.maximum(boxes[:, :, ::2], boxes[:, :, 1::2])
        boxes = torch.maximum(rows[..., ::2], rows[..., 1::2])
        levels.append(boxes)
    return levels[::-1]


def _solve(mesh: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All solutions for targets (T, N, 2): their frame (K,), target (K,) and position (K, 2) in pixels."""
    levels = _box_tree(mesh)
    reach = torch.cat((-targets, targets), dim=-1)  # within a box where the box's numbers are all at least these
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


def _children(frame: Tensor, point: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four parts of each block."""
    down = torch.tensor([0, 0, 1, 1], device=row.device)
    right = torch.tensor([0, 1, 0, 1], device=row.device)
    rows, columns = (2 * row[:, None] + down).flatten(), (2 * column[:, None] + right).flatten()
    return frame.repeat_interleave(4), point.repeat_interleave(4), rows, columns


def _within(flat: Tensor, index: Tensor, stride: int, reach: Tensor) -> Tensor:
    """Numbers of the boxes, four planes `stride` apart, that hold their target."""
    inside = flat[index] >= reach[:, 0]
    for side in range(1, 4):
        inside &= flat[index + side * stride] >= reach[:, side]
    return inside.nonzero()[:, 0]


def _solve_cells(
    mesh: Tensor, targets: Tensor, frame: Tensor, point: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Both roots of each candidate cell's equation, those kept that lie in the cell.

    A cell is P(u, v) = corner + u along_x + v along_y + u v twist. Crossing offset = P - corner with along_x + v twist
    leaves a quadratic equation in v.
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
    square = _cross(twist, along_y)
    linear = _cross(along_x, along_y) + _cross(offset, twist)
    constant = _cross(offset, along_x)
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
        kept = (inside & (missed < CLOSED / 2)).nonzero()[:, 0]
        position = torch.stack((column[kept] + u[kept].clamp(0, 1), row[kept] + v[kept].clamp(0, 1)), dim=-1) - 1
        solutions.append((frame[kept], point[kept], position.to(mesh.dtype)))
    frames, points, positions = (torch.cat(parts) for parts in zip(*solutions, strict=True))
    return frames, points, positions


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _select(
    frame: Tensor, point: Tensor, position: Tensor, count: int, frames: int, anchor: int, reference: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One solution per point and frame: the nearest to the one of the frame next to it, seen from the anchor frame.

    Returns positions (N, T, 2), which of them were found (N, T), and which have others far away (N, T).
    """
    positions = reference[:, None].repeat(1, frames, 1)
    closed = torch.zeros(count, frames, dtype=torch.bool, device=position.device)
    folded = torch.zeros_like(closed)
    order = frame.argsort(stable=True)
    point, position = point[order], position[order]
    ends = torch.bincount(frame, minlength=frames).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    for run in (range(anchor, frames), range(anchor - 1, -1, -1)):
        # The way back starts from the anchor frame too, not from the last one.
        nearest_to = reference.clone() if anchor in run else positions[:, anchor].clone()
        for t in run:
            who, where = point[starts[t] : ends[t]], position[starts[t] : ends[t]]
            distance = (where - nearest_to[who]).norm(dim=-1)
            best = torch.full((count,), float("inf"), device=where.device).scatter_reduce(0, who, distance, "amin")
            chosen = distance == best[who]
            nearest_to[who[chosen]] = where[chosen]
            closed[who, t] = True
            positions[:, t] = nearest_to
            away = (where - nearest_to[who]).norm(dim=-1) > FOLD_DISTANCE
            folded[who[away], t] = True
    return positions, closed, folded


def _newton(
    field: Tensor, frame: Tensor, targets: Tensor, start: Tensor, iterations: int = 20
) -> tuple[Tensor, Tensor]:
    """Positions (N, 2) near `start` that look at `targets` (N, 2) in frames (N,), and residuals (N,), in frame pixels.

    Newton's method from cell to cell, with halved steps where a step does not help.
    """
    position = start.clone()
    error, step = _newton_step(field, frame, targets, position)
    residual = error.norm(dim=-1)
    for _ in range(iterations):
        active = (residual > 1e-3).nonzero()[:, 0]
        if not len(active):
            break
        candidate = position[active] - step[active]
        error, next_step = _newton_step(field, frame[active], targets[active], candidate)
        distance = error.norm(dim=-1)
        better = distance < residual[active]
        kept = active[better]
        position[kept], residual[kept], step[kept] = candidate[better], distance[better], next_step[better]
        step[active[~better]] /= 2
    return position, residual


def _newton_step(field: Tensor, frame: Tensor, targets: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """What fields (T, H, W, 2) show at positions minus the targets, and the step that would undo it, (N, 2) each."""
    height, width = field.shape[1:3]
    (column, u), (row, v) = bilinear_cell(position[:, :1], width), bilinear_cell(position[:, 1:], height)
    flat = field.reshape(-1, 2)
    index = (frame * height + row[:, 0].long()) * width + column[:, 0].long()
    to_right, to_below = min(width - 1, 1), width if height > 1 else 0
    corner, right, below = flat[index], flat[index + to_right], flat[index + to_below]
    along_x, along_y = right - corner, below - corner
    twist = flat[index + to_below + to_right] - right - along_y
    half = torch.tensor([width / 2, height / 2], device=field.device)
    error = position + (corner + u * along_x + v * along_y + u * v * twist) * half - targets
    # Beyond the outer pixel centres the offsets stay as they are.
    far = torch.tensor([width - 1, height - 1], device=field.device)
    free = ((position >= 0) & (position <= far)).to(field.dtype)
    by_x = (along_x + v * twist) * half * free[:, :1] + half.new_tensor([1, 0])
    by_y = (along_y + u * twist) * half * free[:, 1:] + half.new_tensor([0, 1])
    determinant = _cross(by_x, by_y)
    usable = determinant.abs() > 0.02
    safe = torch.where(usable, determinant, torch.ones_like(determinant))
    newton = torch.stack((_cross(error, by_y) / safe, _cross(by_x, error) / safe), dim=-1)
    # Where a cell is all but folded, the step of the fixed-point iteration.
    return error, torch.where(usable[:, None], newton, error)


def _inside(positions: Tensor, size: Sequence[int]) -> Tensor:
    """Whether pixel positions lie in the picture, its outer half pixels included."""
    far = torch.tensor([size[1] - 0.5, size[0] - 0.5], device=positions.device)
    return ((positions >= -0.5) & (positions <= far)).all(dim=-1)


def invert_near(deformation: Tensor, targets: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Invert one frame's field at many targets of which the neighbourhood is known, as in dense flow.

    Newton's method from `start`; what does not close inside the picture that way is searched for exactly.

    Args:
        deformation: (H, W, 2).
        targets: (N, 2), canonical positions in pixels of an image of the field's size.
        start: (N, 2), first guesses, pixels of the frame.

    Returns:
        positions (N, 2) in pixels of the frame, and residuals (N,) in pixels; a position outside the picture is an
        extrapolation with the offsets of the border.
    """
    field, frame = deformation[None].detach(), torch.zeros_like(targets[:, 0], dtype=torch.long)
    position, residual = _newton(field, frame, targets, start)
    inside = _inside(position, deformation.shape[:2])
    open_ones = (~inside | (residual > CLOSED)).nonzero()[:, 0]
    if len(open_ones):
        found = _solve(_mesh(field), targets[None, open_ones])
        exact, closed, _ = _select(*found, len(open_ones), 1, 0, start[open_ones])
        better = closed[:, 0] & (_inside(exact[:, 0], deformation.shape[:2]) | (residual[open_ones] > CLOSED))
        position[open_ones[better]] = exact[better, 0]
        residual = _newton_step(field, frame, targets, position)[0].norm(dim=-1)
    return position, residual


def image_flow(deformation: Tensor) -> tuple[Tensor, Tensor]:
    """Where the content of each pixel of a frame goes in the next frame.

    Args:
        deformation: (T, H, W, 2).

    Returns:
        flow (T - 1, H, W, 2), x then y, in pixels of the frame: extrapolated where the content leaves the picture, NaN
        where nothing in the next frame shows it; and valid (T - 1, H, W), where it is shown inside the picture.
    """
    frames, height, width = deformation.shape[:3]
    field = deformation.detach().float()
    flow = field.new_empty(frames - 1, height, width, 2)
    valid = torch.empty(frames - 1, height, width, dtype=torch.bool, device=field.device)
    pixels = to_pixels(identity_grid(height, width, device=field.device), (height, width)).reshape(-1, 2)
    half = torch.tensor([width / 2, height / 2], device=field.device)
    for t, (now, after) in enumerate(itertools.pairwise(field)):
        targets = pixels + (now * half).reshape(-1, 2)
        position, residual = invert_near(after, targets, targets - (after * half).reshape(-1, 2))
        closed = residual <= CLOSED
        moved = torch.where(closed[:, None], position - pixels, torch.full_like(position, float("nan")))
        flow[t] = moved.reshape(height, width, 2)
        valid[t] = (closed & _inside(position, (height, width))).reshape(height, width)
    return flow, valid
