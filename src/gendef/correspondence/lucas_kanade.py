"""The texture around points of a frame, found again in others to a fraction of a pixel (Lucas and Kanade 1981)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.geometry.sampling import look_up
from gendef.runtime.optional_imports import import_cv2

WINDOW = 15
"""Side of the square around a point that is compared, in pixels."""
LOOP = 0.5
"""Pixels by which the way there and back may miss the point."""
LEAST_CORRELATION = 0.7
"""Normalised correlation of the two squares below which the texture is not the same."""
STEPS = 30
STEP = 0.01
"""Pixels: the search ends after `STEPS` steps, or with one that is shorter."""


class Texture:
    """What surrounds points of a frame.

    Args:
        frame: uint8 (H, W, 3).
        points: (N, 2), x then y in its pixels.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """

    def __init__(self, frame: np.ndarray, points: Tensor) -> None:
        self._cv2 = import_cv2("fit", "to follow points")
        self._grey, self._points = self._in_grey(frame), points
        self._squares = _squares(self._grey, points)

    def laid_onto(
        self, frame: np.ndarray, near: Tensor, reach: float, guesses: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        """Where the texture around each point is in another frame.

        Args:
            near: (N, 2), where it should be.
            reach: pixels that it may be away from there.
            guesses: (N, 2), other places to begin the search.

        Returns:
            Positions (N, 2) in pixels, and whether the texture was found (N,), else `near`: the way back ends where it
            began, and the two correlate. Without contrast there is no texture.
        """
        grey = self._in_grey(frame)
        best, place = torch.full((len(near),), LEAST_CORRELATION), near.clone()
        for guess in (near, *guesses):
            there, found = self._search(self._grey, grey, self._points, guess)
            back, returned = self._search(grey, self._grey, there, self._points)
            found &= returned & ((back - self._points).norm(dim=1) < LOOP) & ((there - near).norm(dim=1) < reach)
            alike = (self._squares * _squares(grey, there)).sum(dim=1)
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
            criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, STEP),
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return torch.from_numpy(found[:, 0]), torch.from_numpy(status[:, 0] > 0)


def _squares(grey: np.ndarray, points: Tensor) -> Tensor:
    """The pixels around points, without their mean and of unit length, (N, WINDOW^2)."""
    offsets = torch.arange(WINDOW) - WINDOW // 2
    down, across = torch.meshgrid(offsets, offsets, indexing="ij")
    places = points[:, :, None] + torch.stack((across.flatten(), down.flatten()))
    squares = look_up(torch.from_numpy(grey)[None].float(), places.movedim(1, 0))[0]
    return F.normalize(squares - squares.mean(dim=1, keepdim=True), dim=1)
