"""Optical flow between the frames of a clip, and where it can be trusted."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.media.optical_flow import FlowMethod
from gendef.warp import identity_grid, sample, to_normalised, to_pixels


def neighbour_flows(
    frames: Sequence[np.ndarray], method: FlowMethod, on_pair: Callable[[], None] = lambda: None
) -> tuple[Tensor, Tensor]:
    """Flow from each frame to the next and back, two of (T - 1, 2, H, W) in pixels.

    Raises:
        InputError: the method returns another shape, or values that are not finite.
    """
    height, width = frames[0].shape[:2]
    forward = torch.empty(len(frames) - 1, 2, height, width)
    backward = torch.empty_like(forward)
    for t in range(len(frames) - 1):
        for store, pair in ((forward, (t, t + 1)), (backward, (t + 1, t))):
            flow = np.asarray(method(frames[pair[0]], frames[pair[1]]), np.float32)
            if flow.shape != (height, width, 2) or not np.isfinite(flow).all():
                raise InputError(f"the flow method gave {flow.shape} for frames of {height}x{width}, or endless values")
            store[t] = torch.from_numpy(flow).movedim(-1, 0)
        on_pair()
    return forward, backward


def pixel_grid(height: int, width: int) -> Tensor:
    """Pixel coordinates x and y, (2, H, W)."""
    return to_pixels(identity_grid(height, width), (height, width)).movedim(-1, 0).contiguous()


def look_up(image: Tensor, positions: Tensor) -> Tensor:
    """Read (C, H, W) bilinearly at pixel positions (2, h, w): (C, h, w)."""
    where = to_normalised(positions.movedim(0, -1), image.shape[1:])
    return sample(image[None], where[None])[0]


def flow_trust(flow: Tensor, back: Tensor) -> Tensor:
    """How far flow (2, H, W) and the flow back agree, (H, W) in [0, 1]; 0 where it leaves the picture.

    The threshold grows with the motion, as is usual (Sundaram et al. 2010).
    """
    height, width = flow.shape[1:]
    target = pixel_grid(height, width) + flow
    gap = (flow + look_up(back, target)).square().sum(dim=0)
    allowed = 0.01 * (flow.square().sum(dim=0) + look_up(back, target).square().sum(dim=0)) + 0.25
    inside = (target[0] >= 0) & (target[0] <= width - 1) & (target[1] >= 0) & (target[1] <= height - 1)
    return torch.exp(-gap / allowed) * inside
