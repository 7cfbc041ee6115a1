"""Optical flow between two frames: the default method, and the interface of others."""

from collections.abc import Callable

import numpy as np

from gendef.errors import InputError
from gendef.runtime.optional_imports import import_cv2

MIN_SIDE = 16
"""Least shorter side of the frames, in pixels."""
FlowMethod = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two uint8 RGB frames (H, W, 3) -> forward flow from the first to the second, float (H, W, 2), x then y, in pixels."""


def dis_flow() -> FlowMethod:
    """OpenCV's dense inverse search (Kroeger et al. 2016) with variational refinement, down to single pixels.

    OpenCV's presets stop at half resolution; then tracks over 40 frames drift more than twice as far (docs/fit.md). The
    function raises an InputError for frames of different or too small sizes.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = import_cv2("fit", "for optical flow")
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)

    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        if first.shape != second.shape or min(first.shape[:2]) < MIN_SIDE:
            raise InputError(
                f"optical flow needs two frames of one size, at least {MIN_SIDE} pixels, got {first.shape[:2]}"
                f" and {second.shape[:2]}"
            )
        grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        return method.calc(*grey, None)

    return flow
