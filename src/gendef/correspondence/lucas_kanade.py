"""Sub-pixel template matching around points of a frame (Lucas and Kanade 1981)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.geometry.sampling import sample
from gendef.runtime.optional_imports import import_cv2

WINDOW = 15
"""Side of the template around a point, in pixels."""
MAX_ROUND_TRIP = 0.5
"""Largest forward-backward error of an accepted match, in pixels."""
LEAST_CORRELATION = 0.7
"""Least normalised cross-correlation of template and match."""
MAX_ITERATIONS, MIN_STEP = 30, 0.01
"""A search ends after so many iterations, or with a step shorter than this many pixels."""


class Texture:
    """Templates around points of a frame.

    Args:
        frame: uint8 (H, W, 3).
        points: (N, 2), x then y, in pixels of the frame.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """

    def __init__(self, frame: np.ndarray, points: Tensor) -> None:
        self._cv2 = import_cv2("fit", "to track points")
        self._grey, self._points = self._in_grey(frame), points
        self._templates = _templates(self._grey, points)

    def match(
        self, frame: np.ndarray, near: Tensor, reach: float, guesses: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        """Match the template of each point in another frame.

        Args:
            frame: uint8 (H, W, 3).
            near: (N, 2), expected positions.
            reach: largest distance of a match from `near`, in pixels.
            guesses: (N, 2) each, further start positions of the search.

        Returns:
            Positions (N, 2) in pixels, and whether a match was found (N,): the search back ends at the point, and the
            correlation is at least `LEAST_CORRELATION`. Without a match the position is `near`. Templates without
            contrast are never matched.
        """
        grey = self._in_grey(frame)
        best, place = torch.full((len(near),), LEAST_CORRELATION), near.clone()
        for guess in (near, *guesses):
            there, found = self._search(self._grey, grey, self._points, guess)
            back, returned = self._search(grey, self._grey, there, self._points)
            found &= (
                returned & ((back - self._points).norm(dim=1) < MAX_ROUND_TRIP) & ((there - near).norm(dim=1) < reach)
            )
            alike = (self._templates * _templates(grey, there)).sum(dim=1)
            better = found & (alike > best)
            best, place = torch.where(better, alike, best), torch.where(better[:, None], there, place)
        return place, best > LEAST_CORRELATION

    def _in_grey(self, frame: np.ndarray) -> np.ndarray:
        grey: np.ndarray = self._cv2.cvtColor(np.ascontiguousarray(frame), self._cv2.COLOR_RGB2GRAY)
        return grey

    def _search(self, first: np.ndarray, second: np.ndarray, points: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        cv2 = self._cv2
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            first,
            second,
            points[:, None].numpy().astype(np.float32, order="C"),
            near[:, None].numpy().astype(np.float32, order="C"),  # a copy: it is written to
            winSize=(WINDOW, WINDOW),
            maxLevel=0,
            criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, MAX_ITERATIONS, MIN_STEP),
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return torch.from_numpy(found[:, 0]), torch.from_numpy(status[:, 0] > 0)


def _templates(grey: np.ndarray, points: Tensor) -> Tensor:
    """Templates around points with zero mean and unit norm, (N, WINDOW^2)."""
    offsets = torch.arange(WINDOW) - WINDOW // 2
    down, across = torch.meshgrid(offsets, offsets, indexing="ij")
    positions = points[:, None] + torch.stack((across.flatten(), down.flatten()), dim=-1)
    templates = sample(torch.from_numpy(grey)[None].float(), positions, units="pixels")[0]
    return F.normalize(templates - templates.mean(dim=1, keepdim=True), dim=1)
