"""Point tracking by inversion of the deformation field (GenDeF, section 4.4).

A point has a fixed position on the canonical image. Its position in a frame is the exact inverse of the frame's field
there (`gendef.geometry.field_inverse`). Appearance is not compared, so a track is as accurate as the field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import invert_points, sample, to_normalised
from gendef.geometry.sampling import bilinear_cell


@dataclass(frozen=True)
class Tracks:
    """Tracks of N points through T frames.

    Attributes:
        positions: (N, T, 2), x then y in pixels of the frames, sub-pixel; an approximation, possibly
            outside the frame, where `visible` is False.
        visible: (N, T), False where the point is outside the frame, where the field folds (the determinant of its
            Jacobian is not positive), where the inversion has no solution, and where the clip's visibility is False.
        residual: (N, T), distance in frame pixels between the point and the field's value at its position.
        canonical: (N, 2), the points on the canonical image, in its pixels.
        layer: (N,) int64, number of the layer to which each point belongs; None for a video of one image.
    """

    positions: Tensor
    visible: Tensor
    residual: Tensor
    canonical: Tensor
    layer: Tensor | None = None

    def __len__(self) -> int:
        return self.positions.shape[0]


def track(
    deformation: Tensor,
    points: Any,
    canonical_size: Sequence[int],
    frame: int | None = None,
    visibility: Tensor | None = None,
) -> Tracks:
    """Track points through a video of one canonical image.

    Args:
        deformation: (T, H, W, 2), the field.
        points: (N, 2), x then y in pixels, on the canonical image or on a frame.
        canonical_size: height and width of the canonical image.
        frame: that frame; None means the canonical image. In it the positions are the points as given.
        visibility: (T, H, W) bool, where the canonical image explains the frames; None if unknown.

    Raises:
        InputError: the points have another shape, are not finite or lie outside the picture, or there is no such frame.
    """
    if frame is None:
        canonical = checked_points(points, canonical_size, "the canonical image")
        found = invert_points(deformation, canonical, canonical_size)
    else:
        given = checked_points(points, deformation.shape[1:3], f"frame {frame}")
        checked_frame(frame, len(deformation))
        canonical = canonical_points(deformation[frame], given, canonical_size)
        found = invert_points(deformation, canonical, canonical_size, start=(frame, given))
        found.positions[:, frame] = given
        found.residual[:, frame] = 0
        found.valid[:, frame] = True
    visible = found.valid & (local_area(deformation, found.positions) > 0)
    if visibility is not None:
        visible &= shown_at(visibility, found.positions)
    return Tracks(found.positions, visible, found.residual, canonical)


def shown_at(shown: Tensor, positions: Tensor) -> Tensor:
    """Values of (T, H, W) bool at the nearest pixels of positions (N, T, 2) in pixels: (N, T)."""
    where = to_normalised(positions, shown.shape[1:]).transpose(0, 1)
    return sample(shown[:, None].float(), where, mode="nearest")[:, 0].T > 0.5


def checked_frame(frame: int, count: int) -> int:
    """The number of a frame in a video of `count` frames.

    Raises:
        InputError: the video has no such frame.
    """
    if not 0 <= frame < count:
        raise InputError(f"frame must be between 0 and {count - 1}, got {frame}")
    return int(frame)


def checked_points(points: Any, size: Sequence[int], place: str) -> Tensor:
    """Points as float32 (N, 2).

    Args:
        size: height and width of the picture on which they lie.
        place: name of the picture in errors.

    Raises:
        InputError: the points have another shape, are not finite, or lie outside the picture.
    """
    try:
        given = points.detach().cpu().numpy() if isinstance(points, Tensor) else np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("points must be numbers, a pair x, y for each point") from None
    if given.ndim != 2 or given.shape[1] != 2 or len(given) == 0:
        raise InputError(f"points must be (N, 2), a pair x, y for each point, got shape {given.shape}")
    if not np.isfinite(given).all():
        raise InputError("the points hold values that are not finite")
    height, width = size
    outside = (given < -0.5).any(axis=1) | (given > np.array([width - 0.5, height - 0.5])).any(axis=1)
    if outside.any():
        x, y = given[outside][0]
        raise InputError(f"the point {x:g},{y:g} is outside {place}, which has {width}x{height} pixels")
    return torch.from_numpy(given.astype(np.float32))


def canonical_points(field: Tensor, points: Tensor, canonical_size: Sequence[int]) -> Tensor:
    """Positions on the canonical image of points (N, 2) of a frame, each in pixels: (N, 2).

    Args:
        field: (H, W, 2), the frame's.
        canonical_size: height and width of the canonical image.
    """
    size, (tall, wide) = field.shape[:2], canonical_size
    scale = torch.tensor([wide / size[1], tall / size[0]])
    offsets = field.movedim(-1, 0)[None] * torch.tensor([wide / 2, tall / 2])[:, None, None]
    return (points + 0.5) * scale - 0.5 + sample(offsets, to_normalised(points, size)[None])[0].T


def local_area(deformation: Tensor, positions: Tensor) -> Tensor:
    """Determinant of the sampling map's Jacobian at positions (N, T, 2) in pixels of the frames: (N, T).

    The field is bilinear between pixel centres; between two cells the right or lower one is used. Outside the
    outer pixel centres the offsets are constant. 1 for the identity; zero or less where the field folds.
    """
    frames, height, width = deformation.shape[:3]
    far = torch.tensor([width - 1, height - 1])
    (column, u), (row, v) = bilinear_cell(positions[..., :1], width), bilinear_cell(positions[..., 1:], height)
    flat = deformation.reshape(-1, 2)
    index = (torch.arange(frames) * height + row[..., 0].long()) * width + column[..., 0].long()
    right, below = min(width - 1, 1), width if height > 1 else 0
    corner = flat[index]
    along_x, along_y = flat[index + right] - corner, flat[index + below] - corner
    twist = flat[index + below + right] - corner - along_x - along_y
    half = torch.tensor([width / 2, height / 2])
    free = ((positions >= 0) & (positions <= far)).to(corner)
    by_x = (along_x + v * twist) * half * free[..., :1] + torch.tensor([1.0, 0.0])
    by_y = (along_y + u * twist) * half * free[..., 1:] + torch.tensor([0.0, 1.0])
    return by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0]


def grid_points(size: tuple[int, int], count: int) -> Tensor:
    """A regular grid of points over a picture of `size` (height, width), `count` along its shorter side: (N, 2).

    Raises:
        InputError: `count` is not between 1 and the shorter side.
    """
    if not 1 <= count <= min(size):
        raise InputError(f"a grid on {size[1]}x{size[0]} pixels has 1 to {min(size)} points a side, got {count}")
    step = min(size) / count
    rows, columns = max(round(size[0] / step), 1), max(round(size[1] / step), 1)
    y = (torch.arange(rows) + 0.5) * size[0] / rows - 0.5
    x = (torch.arange(columns) + 0.5) * size[1] / columns - 0.5
    return torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns)), dim=-1).reshape(-1, 2)
