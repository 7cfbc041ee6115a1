"""Exact inversion of a deformation field: the frame position that shows a given canonical position.

The bilinear mesh of a field is inverted by `gendef.geometry.mesh_search`, which finds every solution. Folds, where
several positions of a frame show the same canonical position, are therefore detected. Outside the outer pixel centres
the border offsets are repeated.

Inside this file a canonical position is measured in pixels of the frame (normalised coordinates scaled to the frame's
size), so that distances in both spaces compare.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry.coordinates import identity_grid, to_normalised, to_pixels
from gendef.geometry.mesh_search import TOLERANCE, build_mesh, cross, solve
from gendef.geometry.sampling import bilinear_cell, sample

FOLD_DISTANCE = 1.0
"""Distance of two solutions, in pixels, above which they count as a fold; nearer ones are the same solution."""
CHUNK_CELLS = 2**19
"""Number of mesh cells that are searched at a time."""


@dataclass(frozen=True)
class Inversion:
    """Frame positions of canonical positions.

    Attributes:
        positions: (N, T, 2), in pixels of the frames; an approximation, possibly outside the frame, where `valid` is
            False.
        valid: (N, T), a solution exists and lies inside the frame.
        folded: (N, T), several positions of the frame show the point; `positions` holds the one nearest to that in the
            neighbouring frame.
        residual: (N, T), distance in frame pixels between the point and the field's value at the position.
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
    """Find canonical positions in every frame by exact inversion.

    Args:
        deformation: (T, H, W, 2).
        points: (N, 2), in pixels of the canonical image; or (N, T, 2), different ones for every frame.
        canonical_size: height and width of the canonical image; default the field's.
        start: index of a frame and the points' known positions (N, 2) in it, in pixels. Of several solutions the one
            nearest to these is taken, and in the other frames the one nearest to that of the neighbouring frame.
            Default: frame 0 and the points themselves, scaled to the frame.

    Raises:
        InputError: shapes do not fit, a value is not finite, or the start frame does not exist.
    """
    targets = _checked_targets(deformation, points, canonical_size)
    count, frames = targets.shape[:2]
    field = deformation.detach().float()
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    step = max(CHUNK_CELLS // (field.shape[1] * field.shape[2]), 1)
    for first in range(0, frames, step):
        mesh = build_mesh(field[first : first + step])
        frame, point, position = solve(mesh, targets[:, first : first + step].transpose(0, 1))
        found.append((frame + first, point, position))
    frame, point, position = (torch.cat(parts) for parts in zip(*found, strict=True))
    anchor, reference = _checked_start(start, targets)
    positions, closed, folded = _select(frame, point, position, count, frames, anchor, reference)
    # Points without a solution are mostly outside the frame: extrapolate from the last known position.
    who, when = (~closed).nonzero(as_tuple=True)
    positions[who, when] = _newton(field, when, targets[who, when], positions[who, when])[0]
    residual = _residual(field, targets, positions)
    valid = closed & (residual <= TOLERANCE) & _inside(positions, field.shape[1:3])
    return Inversion(positions, valid, folded, residual)


def _residual(field: Tensor, targets: Tensor, positions: Tensor) -> Tensor:
    """Distance between targets and the field's values at positions, (N, T)."""
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


def _select(
    frame: Tensor, point: Tensor, position: Tensor, count: int, frames: int, anchor: int, reference: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Select one solution per point and frame: the nearest to that of the neighbouring frame, from the anchor on.

    Returns positions (N, T, 2), whether there is a solution (N, T), and whether there are distinct ones (N, T).
    """
    positions = reference[:, None].repeat(1, frames, 1)
    closed = torch.zeros(count, frames, dtype=torch.bool, device=position.device)
    folded = torch.zeros_like(closed)
    order = frame.argsort(stable=True)
    point, position = point[order], position[order]
    ends = torch.bincount(frame, minlength=frames).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    for run in (range(anchor, frames), range(anchor - 1, -1, -1)):
        # The backward pass starts from the anchor frame too.
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
    """Solve for positions (N, 2) of `targets` (N, 2) in frames (N,), from `start`; also the residuals (N,), in pixels.

    Newton's method on the piecewise bilinear field; a step that does not reduce the residual is halved.
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
    """Residual vectors of positions for fields (T, H, W, 2), and the Newton steps, (N, 2) each."""
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
    # Outside the outer pixel centres the offsets are constant.
    far = torch.tensor([width - 1, height - 1], device=field.device)
    free = ((position >= 0) & (position <= far)).to(field.dtype)
    by_x = (along_x + v * twist) * half * free[:, :1] + half.new_tensor([1, 0])
    by_y = (along_y + u * twist) * half * free[:, 1:] + half.new_tensor([0, 1])
    determinant = cross(by_x, by_y)
    usable = determinant.abs() > 0.02
    safe = torch.where(usable, determinant, torch.ones_like(determinant))
    newton = torch.stack((cross(error, by_y) / safe, cross(by_x, error) / safe), dim=-1)
    # In nearly folded cells: the step of the fixed-point iteration.
    return error, torch.where(usable[:, None], newton, error)


def _inside(positions: Tensor, size: Sequence[int]) -> Tensor:
    """Whether pixel positions lie inside the frame, including its outer half pixels."""
    far = torch.tensor([size[1] - 0.5, size[0] - 0.5], device=positions.device)
    return ((positions >= -0.5) & (positions <= far)).all(dim=-1)


def invert_near(deformation: Tensor, targets: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Invert one frame's field at many targets with good first guesses, as in dense flow.

    Newton's method from `start`; targets without a solution inside the frame are then searched exactly.

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
    open_ones = (~inside | (residual > TOLERANCE)).nonzero()[:, 0]
    if len(open_ones):
        found = solve(build_mesh(field), targets[None, open_ones])
        exact, closed, _ = _select(*found, len(open_ones), 1, 0, start[open_ones])
        better = closed[:, 0] & (_inside(exact[:, 0], deformation.shape[:2]) | (residual[open_ones] > TOLERANCE))
        position[open_ones[better]] = exact[better, 0]
        residual = _newton_step(field, frame, targets, position)[0].norm(dim=-1)
    return position, residual


def image_flow(deformation: Tensor) -> tuple[Tensor, Tensor]:
    """Optical flow of the image content between consecutive frames.

    Args:
        deformation: (T, H, W, 2).

    Returns:
        flow (T - 1, H, W, 2), x then y, in pixels of the frame: extrapolated where the content leaves the frame, NaN
        where the inversion has no solution; and valid (T - 1, H, W), where the content is inside the next frame.
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
        closed = residual <= TOLERANCE
        moved = torch.where(closed[:, None], position - pixels, torch.full_like(position, float("nan")))
        flow[t] = moved.reshape(height, width, 2)
        valid[t] = (closed & _inside(position, (height, width))).reshape(height, width)
    return flow, valid
