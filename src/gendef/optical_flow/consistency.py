"""Forward-backward consistency of optical flow: which pixels a second frame shows, and how far flow can be trusted.

A flow vector f and the flow b back from the place to which it leads cancel for a pixel that both frames show. The
allowed gap grows with the motion: |f + b|^2 <= 0.01 (|f|^2 + |b|^2) + offset (Sundaram et al. 2010, section 4).
"""

import numpy as np
import torch
from torch import Tensor

from gendef.geometry.sampling import look_up, pixel_grid

MOTION_SHARE = 0.01
"""Share of the squared lengths of both flow vectors in the allowed squared gap (Sundaram et al. 2010)."""
VISIBLE_OFFSET = 0.5
"""Squared pixels of the allowed gap without motion, for visibility (Sundaram et al. 2010)."""
TRUST_OFFSET = 0.25
"""The same where flow is weighted by its trust: half as much, so that sub-pixel gaps lower the weight."""


def forward_backward(flow: Tensor, back: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare flow with the flow back from the places to which it leads.

    Args:
        flow: (2, H, W), x then y, in pixels.
        back: (2, H, W), from the second frame to the first.
        grid: (2, H, W), pixel coordinates of the first frame.

    Returns:
        Squared gap |f + b|^2 (H, W), squared motion |f|^2 + |b|^2 (H, W), and bool (H, W), whether the place is
        between the outer pixel centres.
    """
    target = grid + flow
    returned = look_up(back, target)
    gap = (flow + returned).square().sum(dim=0)
    motion = flow.square().sum(dim=0) + returned.square().sum(dim=0)
    return gap, motion, _inside(target)


def _inside(target: Tensor) -> Tensor:
    """Whether places (2, H, W) are between the outer pixel centres, (H, W)."""
    height, width = target.shape[1:]
    return (target[0] >= 0) & (target[0] <= width - 1) & (target[1] >= 0) & (target[1] <= height - 1)


def _whole_grid(height: int, width: int) -> Tensor:
    """Pixel coordinates (2, H, W) as whole numbers; `pixel_grid` is exact to rounding only, which counts at borders."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack((x, y))


def flow_trust(flow: Tensor, back: Tensor) -> Tensor:
    """Trust in flow (2, H, W) by its agreement with the flow back, (H, W) in [0, 1]; 0 where it leaves the frame."""
    gap, motion, inside = forward_backward(flow, back, pixel_grid(*flow.shape[1:]))
    return torch.exp(-gap / (MOTION_SHARE * motion + TRUST_OFFSET)) * inside


def visible_in_both(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Pixels of the first frame that the second shows, bool (H, W).

    Args:
        forward, backward: flow between the frames, float (H, W, 2).
    """
    flow, back = (torch.from_numpy(np.asarray(one, np.float32)).movedim(-1, 0) for one in (forward, backward))
    gap, motion, inside = forward_backward(flow, back, _whole_grid(*flow.shape[1:]))
    return (inside & (gap <= MOTION_SHARE * motion + VISIBLE_OFFSET)).numpy()


def backward_warp(values: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (H, W, C) of a second frame at the places to which flow (H, W, 2) leads, read bilinearly.

    Returns:
        Float32 (H, W, C), and bool (H, W), whether the place is between the outer pixel centres.
    """
    import cv2

    # Not `look_up`: remap reads whole positions exactly, so that a still video has a warping error of exactly 0.
    target = (_whole_grid(*flow.shape[:2]) + torch.from_numpy(np.asarray(flow, np.float32)).movedim(-1, 0)).numpy()
    moved = cv2.remap(values.astype(np.float32), *target, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved.reshape(*flow.shape[:2], -1), _inside(torch.from_numpy(target)).numpy()
