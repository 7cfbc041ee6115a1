"""Optical flow between the frames of a clip, and where it can be trusted."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError, MissingDependencyError
from gendef.warp import identity_grid, sample, to_normalised, to_pixels

FlowMethod = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two uint8 RGB frames (H, W, 3) -> where each pixel of the first goes in the second: float (H, W, 2), x then y, in
pixels. Any network can be used as such a function."""


def import_cv2():  # type: ignore[no-untyped-def]
    """OpenCV, or an error that says how to get it."""
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError("opencv-python-headless", "fit", "to fit a video") from error
    return cv2


def dis_flow() -> FlowMethod:
    """OpenCV's dense inverse search (Kroeger et al. 2016) with variational refinement, down to single pixels.

    The presets stop at half resolution; chained over 40 frames, the points of a walking bear drift more than twice as
    far with that (docs/fit.md).
    """
    cv2 = import_cv2()
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)

    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        if min(first.shape[:2]) < 16:
            return np.zeros((*first.shape[:2], 2), np.float32)  # smaller than the method's patches
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        return method.calc(grey[0], grey[1], None)

    return flow


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
