"""Optical flow between frames of any video, by one program for real and generated ones (OpenCV's DIS)."""

from collections.abc import Callable

import numpy as np

from gendef.errors import InputError, MissingDependencyError

MIN_SIDE = 16
FlowMethod = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two frames, uint8 RGB (H, W, 3) -> flow from the first to the second, float32 (H, W, 2), x then y, in pixels."""


def dis_flow() -> FlowMethod:
    """OpenCV's DIS (Kroeger et al. 2016), preset medium, refined down to single pixels; no weights, and fast.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError("opencv-python-headless", "eval", "for optical flow") from error
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    estimator.setFinestScale(0)

    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        if first.shape != second.shape or min(first.shape[:2]) < MIN_SIDE:
            raise InputError(
                f"optical flow needs two frames of one size, at least {MIN_SIDE} pixels, got {first.shape[:2]}"
                f" and {second.shape[:2]}"
            )
        grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        return estimator.calc(*grey, None)

    return flow


def backward_warp(values: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What lies where the flow leads to: `values` (H, W, C) at x + flow(x), bilinear.

    Returns:
        Float32 (H, W, C), and bool (H, W), whether that place is inside the frame.
    """
    import cv2

    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32)[None] + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    moved = cv2.remap(values.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return moved.reshape(*flow.shape[:2], -1), inside


def visible_in_both(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Pixels of the first frame that the second shows, by forward-backward consistency, bool (H, W).

    A pixel counts as occluded where |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5 (Sundaram et al. 2010, section 4), b being
    the backward flow at the place the forward flow f leads to, or where that place is outside.
    """
    back, inside = backward_warp(backward, forward)
    gap = ((forward + back) ** 2).sum(axis=-1)
    return inside & (gap <= 0.01 * ((forward**2).sum(axis=-1) + (back**2).sum(axis=-1)) + 0.5)
