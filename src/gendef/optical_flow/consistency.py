"""Forward-backward consistency of optical flow: visibility in both frames, and trust in flow vectors.

A flow vector f and the backward flow b at its end point cancel for a pixel that is visible in both frames. The
allowed gap grows with the motion: |f + b|^2 <= 0.01 (|f|^2 + |b|^2) + offset (Sundaram et al. 2010, section 4).
"""

import numpy as np
import torch
from torch import Tensor

from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample

MOTION_SHARE = 0.01
"""Share of the squared lengths of both flow vectors in the allowed squared gap (Sundaram et al. 2010)."""
VISIBLE_OFFSET = 0.5
"""Squared pixels of the allowed gap without motion, for visibility (Sundaram et al. 2010)."""
TRUST_OFFSET = 0.25
"""The same for trust weights: half as much, so that sub-pixel gaps lower the weight."""


def forward_backward(flow: Tensor, back: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare flow with the backward flow at its end points.

    Args:
        flow: (2, H, W), x then y, in pixels.
        back: (2, H, W), from the second frame to the first.
        grid: (2, H, W), pixel coordinates of the first frame.

    Returns:
        Squared gap |f + b|^2 (H, W), squared motion |f|^2 + |b|^2 (H, W), and bool (H, W), whether the end
        point is between the outer pixel centres.
    """
    target = grid + flow
    returned = sample(back, target.movedim(0, -1), units="pixels")
    gap = (flow + returned).square().sum(dim=0)
    motion = flow.square().sum(dim=0) + returned.square().sum(dim=0)
    return gap, motion, _inside(target)


def _inside(target: Tensor) -> Tensor:
    """Whether positions (2, H, W) are between the outer pixel centres, (H, W)."""
    height, width = target.shape[1:]
    return (target[0] >= 0) & (target[0] <= width - 1) & (target[1] >= 0) & (target[1] <= height - 1)


def _whole_grid(height: int, width: int) -> Tensor:
    """Pixel coordinates (2, H, W) as exact integers; `pixel_grid` has rounding errors, which matter at the border."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack((x, y))


def flow_trust(flow: Tensor, back: Tensor) -> Tensor:
    """Trust in flow (2, H, W) by forward-backward consistency, (H, W) in [0, 1]; 0 where it leaves the frame."""
    gap, motion, inside = forward_backward(flow, back, pixel_grid(*flow.shape[1:]))
    return torch.exp(-gap / (MOTION_SHARE * motion + TRUST_OFFSET)) * inside


def visible_in_both(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Pixels of the first frame that are visible in the second, bool (H, W).

    Args:
        forward, backward: flow between the frames, float (H, W, 2).
    """
    flow, back = (torch.from_numpy(np.asarray(one, np.float32)).movedim(-1, 0) for one in (forward, backward))
    gap, motion, inside = forward_backward(flow, back, _whole_grid(*flow.shape[1:]))
    return (inside & (gap <= MOTION_SHARE * motion + VISIBLE_OFFSET)).numpy()


def backward_warp(values: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Warp values (H, W, C) of a second frame to the first along flow (H, W, 2), bilinearly.

    Returns:
        Float32 (H, W, C), and bool (H, W), whether the end point is between the outer pixel centres.
    """
    import cv2

    # Not `sample`: remap is exact at integer positions, so the warping error of a still video is exactly 0.
    target = (_whole_grid(*flow.shape[:2]) + torch.from_numpy(np.asarray(flow, np.float32)).movedim(-1, 0)).numpy()
    x, y = target
    moved = cv2.remap(values.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved.reshape(*flow.shape[:2], -1), _inside(torch.from_numpy(target)).numpy()
