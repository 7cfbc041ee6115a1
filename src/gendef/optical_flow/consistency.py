"""Which pixels of a frame the next one shows, by optical flow there and back."""

import numpy as np


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
