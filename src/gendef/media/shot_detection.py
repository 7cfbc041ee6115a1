"""Scene changes: jumps in the picture that stand out from the motion around them."""

import numpy as np
from PIL import Image

CHANGE = 0.06
"""Thumbnails change by at least this much at a cut, on average, of a range of 1 ..."""
PROMINENCE = 4.0
"""... and by this many times more than at the frames around it, ..."""
SHIFT = 0.3
"""... and at least this share of the pixels gets another colour: motion only moves colours about."""
WINDOW = 8
"""Frames before and after that a change is compared with."""
FLASH = 3
"""A jump away and back within this many frames is lightning or a flash light, and no cut."""
_QUIET = 0.004
_SIDE = 16
_LEVELS = 4


class Signature:
    """What is remembered of the frames of a video to find its cuts: about 900 bytes a frame."""

    def __init__(self) -> None:
        self._thumbnails: list[np.ndarray] = []
        self._histograms: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._thumbnails)

    def append(self, frame: np.ndarray) -> None:
        """Add the next frame, uint8 (H, W, 3)."""
        height, width = frame.shape[:2]
        image = Image.fromarray(frame)
        if min(height, width) >= 128:
            image = image.reduce(min(height, width) // 64)
        self._thumbnails.append(np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX)))
        self._histograms.append(_histogram(np.asarray(image)))

    def cuts(self) -> list[int]:
        """Indices of the frames that begin a new scene.

        A cut changes the picture at once, more than the motion around it does, and changes its colours. Fast
        motion and fades change all frames alike; motion that starts suddenly keeps the colours.
        """
        if len(self) < 2:
            return []
        thumbnails = np.stack(self._thumbnails).astype(np.float32) / 255
        change = np.abs(np.diff(thumbnails, axis=0)).mean(axis=(1, 2, 3))
        histograms = np.stack(self._histograms).astype(np.float32)
        shift = np.abs(np.diff(histograms, axis=0)).sum(axis=1) / 2
        cuts = []
        for index in np.flatnonzero((change > CHANGE) & (shift > SHIFT)):
            around = np.concatenate((change[max(index - WINDOW, 0) : index], change[index + 1 : index + 1 + WINDOW]))
            usual = float(np.median(around)) if around.size else 0.0
            if change[index] > PROMINENCE * max(usual, _QUIET):
                cuts.append(int(index) + 1)
        return _without_flashes(cuts, thumbnails, change)


def _histogram(image: np.ndarray) -> np.ndarray:
    """Share of the pixels in each of 4x4x4 colours, float16 (64,)."""
    levels = image.reshape(-1, 3) // (256 // _LEVELS)
    codes = levels @ np.array([_LEVELS**2, _LEVELS, 1], np.uint8)
    counts = np.bincount(codes, minlength=_LEVELS**3)
    return (counts / len(codes)).astype(np.float16)


def _without_flashes(cuts: list[int], thumbnails: np.ndarray, change: np.ndarray) -> list[int]:
    kept: list[int] = []
    for cut in cuts:
        if kept and cut - kept[-1] <= FLASH:
            away, back = change[kept[-1] - 1], change[cut - 1]
            if np.abs(thumbnails[kept[-1] - 1] - thumbnails[cut]).mean() < 0.5 * min(away, back):
                kept.pop()
                continue
        kept.append(cut)
    return kept
