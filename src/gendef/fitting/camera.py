"""Camera motion: one homography per frame to the reference frame, and a canvas that contains all warped frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gendef.runtime.optional_imports import import_cv2

STEP = 8
"""Spacing, in pixels, of the flow vectors from which the camera motion is estimated."""
KINDS = ("homography", "similarity", "translation")
"""Motion models, tried in this order: a simpler one where the one before gives an unusable canvas."""
INLIER = 1.0
"""RANSAC threshold: largest distance, in pixels, of an inlier from the motion model."""
MAX_AREA = 6.0
"""Largest area of the canvas relative to a frame; with a larger one the next simpler motion model is tried."""
MAX_STRETCH = 3.0
"""Largest scale, or its inverse, of a frame relative to the reference; beyond it the next simpler model is tried."""
STILL = 0.25
"""Largest displacement of a frame's corners, in pixels over the whole clip, at which the camera counts as still."""


@dataclass(frozen=True)
class Camera:
    """Camera motion of a clip.

    Attributes:
        to_canvas: (T, 3, 3) float64, pixels of a frame -> pixels of the canvas, homogeneous.
        canvas: height and width.
        reference: index of the frame that is only translated into the canvas.
        kind: homography, similarity, translation or still.
    """

    to_canvas: Tensor
    canvas: tuple[int, int]
    reference: int
    kind: str


def find_camera(
    forward: Tensor,
    backward: Tensor,
    seed: int,
    trust: Tensor,
    *,
    kinds: Sequence[str] = KINDS,
    step: int = STEP,
    candidates: Tensor | None = None,
) -> Camera:
    """Estimate the camera motion of a clip, or the motion of an object, from optical flow.

    Args:
        forward, backward: flow to the next frame and back, each (T - 1, 2, H, W) in pixels.
        trust: (T - 1, H, W) in [0, 1], of `backward`; small on independently moving objects.
        seed: of RANSAC.
        kinds: motion models to try, of `KINDS`.
        step: spacing, in pixels, of the flow vectors used.
        candidates: (T,) bool, frames that may be the reference frame; default all.
    """
    height, width = forward.shape[2:]
    for kind in kinds:
        chained = _chain(backward, trust, kind, seed, step)
        reference = _medoid(chained, height, width, candidates)
        motion = np.linalg.inv(chained[reference]) @ chained
        motion /= motion[:, 2:, 2:]
        motion[reference] = np.eye(3)  # exactly, without rounding errors
        found = _on_canvas(motion, height, width, reference, kind)
        if found is not None:
            return found
    return still_camera(len(forward) + 1, height, width, len(forward) // 2)


def still_camera(count: int, height: int, width: int, reference: int) -> Camera:
    """The static camera."""
    return Camera(torch.eye(3, dtype=torch.float64).repeat(count, 1, 1), (height, width), reference, "still")


def _chain(backward: Tensor, trust: Tensor, kind: str, seed: int, step: int) -> np.ndarray:
    """Homography of every frame to frame 0, (T, 3, 3): products of those between neighbouring frames."""
    chained = [np.eye(3)]
    for back, sure in zip(backward, trust, strict=True):
        chained.append(chained[-1] @ common_motion(back, sure, kind, seed, step))
    return np.stack(chained)


def common_motion(flow: Tensor, trust: Tensor, kind: str, seed: int, step: int = STEP) -> np.ndarray:
    """The dominant motion (3, 3) of a flow field (2, H, W), by RANSAC over vectors with trust (H, W) above 0.5."""
    cv2 = import_cv2("fit", "to fit a video")
    y, x = np.mgrid[step // 2 : flow.shape[1] : step, step // 2 : flow.shape[2] : step]
    good = trust.numpy()[y, x] > 0.5
    start = np.stack((x[good], y[good]), axis=-1).astype(np.float32)
    if len(start) < 16:
        return np.eye(3)
    moved = flow.numpy()[:, y[good], x[good]].T
    if kind == "translation":
        matrix = np.eye(3)
        matrix[:2, 2] = np.median(moved, axis=0)
        return matrix
    cv2.setRNGSeed(seed)
    if kind == "homography":
        matrix, _ = cv2.findHomography(start, start + moved, cv2.RANSAC, INLIER, maxIters=500)
        return np.eye(3) if matrix is None else matrix
    matrix, _ = cv2.estimateAffinePartial2D(
        start, start + moved, method=cv2.RANSAC, ransacReprojThreshold=INLIER, maxIters=500
    )
    return np.eye(3) if matrix is None else np.vstack((matrix, [0, 0, 1]))


def _corners(matrices: np.ndarray, height: int, width: int) -> np.ndarray:
    """Images of the frame corners under homographies, (T, 4, 2); NaN behind or near the line at infinity."""
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [width - 1, height - 1, 1], [0, height - 1, 1]], np.float64).T
    moved = matrices @ corners
    depth = np.where(moved[:, 2:] > 0.1, moved[:, 2:], np.nan)
    return np.moveaxis(moved[:, :2] / depth, 1, 2)


def _medoid(chained: np.ndarray, height: int, width: int, candidates: Tensor | None) -> int:
    """Index of the frame whose mean corner distance to all others is smallest; of similar ones the middle one."""
    count = len(chained)
    corners = np.nan_to_num(_corners(chained, height, width), nan=1e6)
    apart = np.stack([np.linalg.norm(corners - corner, axis=-1).mean(axis=1) for corner in corners]).mean(axis=1)
    if candidates is not None:
        apart = np.where(candidates.numpy(), apart, np.inf)
    near = np.flatnonzero(apart <= apart.min() * 1.1 + 0.02 * width)
    return int(near[np.abs(near - (count - 1) / 2).argmin()])


def _on_canvas(motion: np.ndarray, height: int, width: int, reference: int, kind: str) -> Camera | None:
    """The camera with its canvas; None if the motion is degenerate, too large, or scales frames too much."""
    corners = _corners(motion, height, width)
    if not np.isfinite(corners).all():
        return None
    x, y = corners[..., 0], corners[..., 1]
    area = ((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1) / 2) / ((height - 1) * (width - 1))
    if area.min() < 1 / MAX_STRETCH**2 or area.max() > MAX_STRETCH**2:
        return None
    at_rest = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    if np.abs(corners - at_rest).max() < STILL:
        return still_camera(len(motion), height, width, reference)
    low, high = np.floor(corners.min(axis=(0, 1)) + 0.1), np.ceil(corners.max(axis=(0, 1)) - 0.1)
    wide, tall = (high - low + 1).astype(int)
    if wide * tall > MAX_AREA * height * width:
        return None
    shift = np.eye(3)
    shift[:2, 2] = -low
    return Camera(torch.from_numpy(shift @ motion), (int(tall), int(wide)), reference, kind)


def canvas_positions(matrix: Tensor, size: tuple[int, int], full: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """Normalised canvas coordinates of a frame's pixels, (2, h, w) float32.

    Args:
        matrix: (3, 3), frame pixels to canvas pixels at full size.
        size: height and width of the grid of pixels.
        full: height and width of a frame at full size.
        canvas: height and width of the canvas at full size.
    """
    y = (torch.arange(size[0], dtype=torch.float64) + 0.5) * full[0] / size[0] - 0.5
    x = (torch.arange(size[1], dtype=torch.float64) + 0.5) * full[1] / size[1] - 0.5
    grid = torch.stack((x[None].expand(size[0], -1), y[:, None].expand(-1, size[1])))
    moved = torch.einsum("ij,jhw->ihw", matrix[:, :2], grid) + matrix[:, 2, None, None]
    normalised = (2 * moved[:2] / moved[2] + 1) / torch.tensor([canvas[1], canvas[0]])[:, None, None] - 1
    return normalised.float()
