"""Filling of a picture behind what is cut out of it and beyond its borders, with texture of the rest.

Diffusion inpainting leaves streaks in areas as large as moving clouds uncover. Here each unknown pixel takes the colour
of the known place that lies as far on the other side of the nearest edge, so that nothing jumps at the edge and texture
stays texture. Smooth noise that grows with the distance from the edge breaks the symmetry; where two edges are
equally near, OpenCV's inpainting (Telea 2004) replaces the crease.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from gendef.runtime.optional_imports import import_cv2

Inpainter = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A picture uint8 (H, W, 3) and what is unknown of it, bool (H, W) -> the picture filled, uint8 (H, W, 3)."""

WANDER, FARTHEST = 0.2, 0.06
"""How far noise moves a place, as a share of its distance from the edge, and up to which distance that grows, as a
share of the picture's longer side: beyond, the noise would fold."""
WAVE = 0.12
"""Size of the noise's waves, as a share of the picture's longer side."""
CREASE = 0.015
"""Width of the strip that is smoothed along creases, as a share of the longer side."""
ROUND = 0.015
"""Corners of the edge that are smaller than this, as a share of the longer side, do not show in the mirror image."""
SMOOTH_SIDE = 256
"""Longer side of the picture on which creases are smoothed, at most."""


def fill(picture: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The picture uint8 (H, W, 3) with what is unknown, bool (H, W), filled from the rest; the rest is unchanged.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = import_cv2("fit", "to fill in what was hidden")
    if not unknown.any():
        return picture.copy()
    if unknown.all():
        return np.full_like(picture, 127)
    rows, columns = np.flatnonzero(~unknown.all(axis=1)), np.flatnonzero(~unknown.all(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inner = _filled_inside(cv2, np.ascontiguousarray(picture[box]), np.ascontiguousarray(unknown[box]))
    return _continued(cv2, inner, (int(rows[0]), int(columns[0])), unknown.shape)


def _continued(cv2: Any, inner: np.ndarray, corner: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """A picture (h, w, 3) continued by its mirror images to (H, W, 3).

    Args:
        corner: row and column of its top-left pixel.
    """
    if inner.shape[:2] == shape:
        return inner
    (height, width), (tall, wide) = shape, inner.shape[:2]
    rows, columns = np.arange(height) - corner[0], np.arange(width) - corner[1]
    beyond_y = np.maximum(np.maximum(-rows, rows - tall + 1), 0)[:, None]
    beyond_x = np.maximum(np.maximum(-columns, columns - wide + 1), 0)[None]
    reach = WANDER * np.minimum(np.maximum(beyond_y, beyond_x), FARTHEST * max(shape)).astype(np.float32)
    wander = _noise(cv2, shape) * reach[..., None]
    y, x = rows[:, None] + wander[..., 0], columns[None] + wander[..., 1]
    mirrored = cv2.remap(
        inner,
        _folded(x, wide).astype(np.float32),
        _folded(y, tall).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    mirrored[corner[0] : corner[0] + tall, corner[1] : corner[1] + wide] = inner
    return np.asarray(mirrored)


def _folded(places: np.ndarray, side: int) -> np.ndarray:
    """Places beyond 0 ... side - 1 mirrored back at the ends, as often as needed."""
    if side == 1:
        return np.zeros_like(places)
    period = 2 * (side - 1)
    return np.asarray((side - 1) - np.abs((places % period) - (side - 1)))


def _filled_inside(cv2: Any, picture: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The picture with each unknown pixel as at the mirror image of its place in the nearest edge of what is known."""
    if not unknown.any():
        return picture
    flags = unknown.astype(np.uint8)
    away, labels = cv2.distanceTransformWithLabels(flags, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(unknown)
    here = np.stack((rows, columns), axis=-1)
    nearest = _nearest(labels, unknown)[labels[rows, columns]]
    across = _without_corners(cv2, here, nearest - here, away)
    reach = WANDER * away[rows, columns, None].clip(max=FARTHEST * max(unknown.shape))
    wander = _noise(cv2, unknown.shape)[rows, columns] * reach
    target = np.rint(here + 2 * across + wander).astype(int)
    result = picture.copy()
    lost = _copy(result, unknown, here, target)
    # Behind a thin known part lies something unknown again: there the nearest known place itself, and no mirror image.
    result[rows[lost], columns[lost]] = picture[nearest[lost, 0], nearest[lost, 1]]
    uncertain = _creases(cv2, here, nearest, unknown.shape)
    uncertain[rows[lost], columns[lost]] = 1
    return _smoothed(cv2, result, unknown, uncertain, away)


def _nearest(labels: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Row and column (N, 2) of the known pixel of each label."""
    known = np.zeros((int(labels.max()) + 1, 2), np.int64)
    places = np.argwhere(~unknown)
    known[labels[~unknown]] = places
    return known


def _without_corners(cv2: Any, here: np.ndarray, across: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Ways from unknown pixels to the nearest known ones, (N, 2), averaged over what is around, more the farther in.

    From a ragged edge the nearest place jumps to and fro, and the mirror image would be cut into stripes.
    """
    width = max(ROUND * max(away.shape), 1.0)
    ways = np.zeros((*away.shape, 3), np.float32)
    ways[here[:, 0], here[:, 1], :2], ways[here[:, 0], here[:, 1], 2] = across, 1
    total = cv2.GaussianBlur(ways, (0, 0), width, borderType=cv2.BORDER_REFLECT)[here[:, 0], here[:, 1]]
    share = (away[here[:, 0], here[:, 1], None] / (2 * width)).clip(0, 1)
    return np.asarray(across + share * (total[:, :2] / np.maximum(total[:, 2:], 1e-6) - across))


def _noise(cv2: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth noise (H, W, 2) of deviation about 1, always the same."""
    height, width = shape
    cells = [max(round(side / (WAVE * max(shape))), 1) + 3 for side in shape]
    coarse = np.random.default_rng(0).normal(size=(*cells, 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _copy(result: np.ndarray, unknown: np.ndarray, here: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Copy colours from `target` (N, 2) to `here` (N, 2), in place; returns which (N,) found none."""
    limit = np.array(unknown.shape) - 1
    left = unknown.copy()
    for _ in range(4):
        # Places outside are mirrored back at the border; unknown ones may have been filled in the round before.
        place = np.abs(target)
        place = np.clip(limit - np.abs(limit - place), 0, limit)
        good = left[here[:, 0], here[:, 1]] & ~left[place[:, 0], place[:, 1]]
        result[here[good, 0], here[good, 1]] = result[place[good, 0], place[good, 1]]
        left[here[good, 0], here[good, 1]] = False
    return left[here[:, 0], here[:, 1]]


def _creases(cv2: Any, here: np.ndarray, nearest: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where the nearest known place jumps from pixel to pixel, and near it: float32 (H, W), 1 at the jumps."""
    rows, columns = np.indices((shape[0], shape[1]), dtype=np.float32)
    place = np.stack((rows, columns), axis=-1)
    place[here[:, 0], here[:, 1]] = nearest
    width = max(CREASE * max(shape), 1)
    jump = np.zeros(shape, np.uint8)
    jump[1:] |= np.abs(np.diff(place, axis=0)).max(axis=-1) > width
    jump[:, 1:] |= np.abs(np.diff(place, axis=1)).max(axis=-1) > width
    if not jump.any():
        return np.zeros(shape, np.float32)
    away = cv2.distanceTransform(1 - jump, cv2.DIST_L2, 5)
    return (1.5 - away / width).clip(0, 1).astype(np.float32)


def _smoothed(cv2: Any, filled: np.ndarray, unknown: np.ndarray, uncertain: np.ndarray, away: np.ndarray) -> np.ndarray:
    """The filled picture, inpainted anew where it is uncertain."""
    again = (uncertain > 0) & unknown
    if not again.any():
        return filled
    height, width = unknown.shape
    scale = min(SMOOTH_SIDE / max(height, width), 1)
    size = (max(round(width * scale), 2), max(round(height * scale), 2))
    small = cv2.resize(filled, size, interpolation=cv2.INTER_AREA)
    hole = cv2.resize(again.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    smooth = cv2.inpaint(small, hole, 2, cv2.INPAINT_TELEA)
    smooth = cv2.GaussianBlur(smooth, (0, 0), 1.5)
    smooth = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC)
    # Towards what is known the mirror image is right and smoothing would show.
    share = uncertain * (away / max(CREASE * max(height, width), 1)).clip(0, 1)
    share = np.where(unknown, share, 0)[..., None]
    mixed = filled + share * (smooth.astype(np.float32) - filled)
    return np.asarray(np.where(unknown[..., None], mixed.round().clip(0, 255), filled).astype(np.uint8))
