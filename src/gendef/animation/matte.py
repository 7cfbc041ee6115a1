"""What moves in a picture: from a mask, or from what the prior expects, with outlines along the picture's edges."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor

from gendef.errors import InputError
from gendef.media.images import resized
from gendef.runtime.optional_imports import import_cv2
from gendef.video.label_transfer import to_labels

CUT_SIDE = 160
"""Shorter side of the picture on which what moves is cut out, at most."""
CUT_ROUNDS = 2
SURE = 0.85
"""Share of the prior's map from which on a place surely moves; below 1 - SURE it surely stands still."""
LEAST_SURE = 20
"""Pixels of each kind that colours can be learned from."""
REFINE_SIDE = 512
"""Shorter side of the picture on which the guided filter is solved, at most; its coefficients are enlarged."""
REFINE_ROUNDS = 2
GUIDE_SHARPNESS = 1e-4
"""The guided filter's epsilon, for colours in [0, 1]."""
SAME_SHAPE = 0.02
"""Ratios of height to width that differ by less are taken for the same."""
BAND, LEAST_BAND = 0.012, 4.0
"""Width of the band at both sides of the outline of a given mask in which the picture decides, as a share of the longer
side and in pixels at least."""
RIM, LEAST_RIM = 0.0015, 2
"""Width of the soft outline, as a share of the longer side and in pixels at least."""
BORDER_SHARE = 0.05
"""Share of the picture's border that a thing within the picture covers, at most."""
SMALLEST_PART = 0.002
"""Pieces of what moves, and holes in it, below this share of the picture are dropped, if the prior guessed them."""


def read_mask(mask: Any, size: Sequence[int], name: str) -> Tensor:
    """A mask as bool (H, W).

    Args:
        mask: a picture or array, black and white, labels, or transparent around the object; see `to_labels`.
        size: height and width of the photograph; a mask of its shape may be larger or smaller.
        name: of the mask, for errors.

    Raises:
        InputError: it is empty, or of another shape.
    """
    labels = to_labels(mask) != 0
    tall, wide = labels.shape
    if abs(tall * size[1] / (wide * size[0]) - 1) > SAME_SHAPE:
        raise InputError(
            f"{name} is {wide}x{tall} and the photograph {size[1]}x{size[0]}: a mask must have the photograph's shape"
        )
    if not labels.any():
        raise InputError(f"{name} is empty: it marks no pixel of the photograph")
    return resized(labels[None].float(), size)[0] >= 0.5


def moving_matte(picture: np.ndarray, share: Tensor) -> Tensor:
    """A coarse map of what moves, (h, w) in [0, 1], with the outlines of the picture, uint8 (H, W, 3): bool (H, W).

    Where the map is unsure, colours like those of what surely moves move too (GrabCut, Rother et al. 2004).

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = import_cv2("fit", "for the outline of what moves")
    height, width = picture.shape[:2]
    scale = min(CUT_SIDE / min(height, width), 1)
    small = (max(round(width * scale), 1), max(round(height * scale), 1))
    wanted = cv2.resize(share.numpy().astype(np.float32), small, interpolation=cv2.INTER_LINEAR)
    state = np.where(wanted >= 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[wanted >= SURE] = cv2.GC_FGD
    state[wanted <= 1 - SURE] = cv2.GC_BGD
    if (state == cv2.GC_FGD).sum() >= LEAST_SURE and (state == cv2.GC_BGD).sum() >= LEAST_SURE:
        cv2.setRNGSeed(0)
        pixels = np.ascontiguousarray(cv2.resize(picture, small, interpolation=cv2.INTER_AREA)[..., ::-1])
        models = [np.zeros((1, 65)), np.zeros((1, 65))]
        cv2.grabCut(pixels, state, (0, 0, 1, 1), models[0], models[1], CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    moving = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    full = cv2.resize(moving, (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5
    mask = torch.from_numpy(_without_specks(full))
    return refined(picture, mask) if bool(mask.any()) else mask


def refined(picture: np.ndarray, mask: Tensor) -> Tensor:
    """A mask (H, W) whose outline is moved to the edge of the picture, uint8 (H, W, 3), that is near: bool (H, W).

    Hand-made masks are a few pixels too large or too small, and what of the rest is in them would move along.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = import_cv2("fit", "for the outline of what moves")
    if bool(mask.all()):
        return mask
    inside = mask.numpy().astype(np.uint8)
    width = max(BAND * max(mask.shape), LEAST_BAND)
    near = cv2.distanceTransform(inside, cv2.DIST_L2, 5) + cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) <= width
    moving = mask.numpy()
    for _ in range(REFINE_ROUNDS):
        guided = _guided(picture, moving.astype(np.float32), width / min(mask.shape))
        moving = np.where(near, guided >= 0.5, moving)
    result = torch.from_numpy(moving)
    return result if bool(result.any()) else mask


def _guided(picture: np.ndarray, share: np.ndarray, radius: float) -> np.ndarray:
    """A map (h, w) fitted by a linear function of the colours in every window of a picture: float32 (H, W).

    The guided filter of He, Sun and Tang (2010), equations 16 to 18, solved at a reduced size (He and Sun, Fast guided
    filter, 2015).

    Args:
        radius: of the windows, as a share of the shorter side.
    """
    cv2 = import_cv2("fit", "to find the outline of what moves")
    height, width = picture.shape[:2]
    scale = min(REFINE_SIDE / min(height, width), 1)
    small = (max(round(width * scale), 1), max(round(height * scale), 1))
    colours = picture.astype(np.float32) / 255
    guide = cv2.resize(colours, small, interpolation=cv2.INTER_AREA)
    finer = share.shape[0] > small[1]
    coarse = cv2.resize(share, small, interpolation=cv2.INTER_AREA if finer else cv2.INTER_CUBIC).clip(0, 1)
    slope, offset = _linear_fits(cv2, guide, coarse, max(round(radius * min(small)), 1))
    slope = cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
    offset = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray((slope * colours).sum(axis=-1) + offset)


def _linear_fits(cv2: Any, guide: np.ndarray, values: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (h, w, 3) and offsets (h, w) of the fits of `values` by colours, averaged over all windows of a place."""

    def mean(plane: np.ndarray) -> np.ndarray:
        window = (2 * radius + 1, 2 * radius + 1)
        return np.asarray(cv2.boxFilter(plane.astype(np.float64), -1, window, borderType=cv2.BORDER_REFLECT))

    colour, value = mean(guide), mean(values)
    covariance = np.empty((*values.shape, 3, 3))
    for row in range(3):
        for column in range(row, 3):
            product = mean(guide[..., row] * guide[..., column]) - colour[..., row] * colour[..., column]
            covariance[..., row, column] = covariance[..., column, row] = product
    with_values = np.stack([mean(guide[..., k] * values) - colour[..., k] * value for k in range(3)], axis=-1)
    slope = np.linalg.solve(covariance + GUIDE_SHARPNESS * np.eye(3), with_values[..., None])[..., 0]
    offset = value - (slope * colour).sum(axis=-1)
    return mean(slope).astype(np.float32), mean(offset).astype(np.float32)


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """The mask (H, W) without small pieces and small holes."""
    least = SMALLEST_PART * mask.size
    for wanted in (True, False):
        pieces, count = label(mask == wanted)
        if count:
            areas = np.bincount(pieces.ravel())
            areas[0] = mask.size
            mask = np.where(areas[pieces] < least, not wanted, mask)
    return mask


def touches_border(mask: np.ndarray) -> bool:
    """Whether a mask (H, W) takes up more of the picture's border than a thing within the picture does."""
    rim = np.concatenate((mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]))
    return float(rim.mean()) > BORDER_SHARE


def softened(moving: Tensor, *, outwards: bool) -> Tensor:
    """Alpha (H, W) in [0, 1] of a mask (H, W): its outline as a narrow ramp a little beside it.

    Colours on the outline itself are mixed of both sides; the ramp lies where they are not.

    Args:
        outwards: the ramp lies outside the mask; otherwise inside.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = import_cv2("fit", "for the outline of what moves")
    core = (moving if outwards else ~moving).numpy()
    if core.all() or not core.any():
        return moving.float()
    width = max(round(RIM * max(core.shape)), LEAST_RIM)
    away = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5)
    alpha = torch.from_numpy((1 - (away - width) / (width + 1)).clip(0, 1).astype(np.float32))
    result = alpha if outwards else 1 - alpha
    # A thing as thin as the outline would vanish.
    return result if bool((result > 0.5).any()) else moving.float()
