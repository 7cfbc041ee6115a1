"""Scene changes: jumps in the picture that stand out from the motion around them."""

import numpy as np
from PIL import Image

THRESHOLD = 0.12
"""A cut changes thumbnails by at least this much on average, of a range of 1 ..."""
PROMINENCE = 4.0
"""... and this many times more than the frames around it change."""
WINDOW = 6


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """A frame, uint8 (H, W, 3), as float32 (16, 16, 3) in [0, 1]."""
    small = Image.fromarray(frame).resize((16, 16), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def find_cuts(thumbnails: np.ndarray) -> list[int]:
    """Indices of frames that begin a new scene, from thumbnails (T, 16, 16, 3).

    A change of picture counts where it is large and stands out from its neighbours: fast motion and fades change every
    frame alike and do not count.
    """
    change = np.abs(np.diff(thumbnails, axis=0)).mean(axis=(1, 2, 3))
    cuts = []
    for index in np.flatnonzero(change > THRESHOLD):
        around = np.concatenate((change[max(index - WINDOW, 0) : index], change[index + 1 : index + 1 + WINDOW]))
        if around.size == 0 or change[index] > PROMINENCE * np.median(around):
            cuts.append(int(index) + 1)
    return cuts
