"""Motion without end: two passes of one picture that fade into each other (Holynski et al. 2021, section 3.3).

The first pass shows the picture moved by the fields of times 0 ... T, the second by those of -T ... 0. At time 0 only
the first is seen and is the picture itself, at time T only the second, which is the picture itself there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

FADE = (0.2, 0.8)
"""Parts of the loop at which the passes begin and cease to fade. Two pictures at once have less contrast, so that the
frames between move less than those at the seam, where there is one."""


@dataclass(frozen=True)
class Pass:
    """One run of the motion through the video.

    Attributes:
        times: (T,) of the frames, in frames of the motion from the photograph.
        shares: (T,) of the pass in the picture.
    """

    times: Tensor
    shares: Tensor


def passes(frames: int, step: float, *, loop: bool) -> list[Pass]:
    """The passes of a video: one, or two that make a loop.

    Args:
        frames: of the video.
        step: time from one frame to the next.
    """
    times = torch.arange(frames, dtype=torch.float64) * step
    if not loop:
        return [Pass(times, torch.ones(frames))]
    way = ((torch.arange(frames) / frames - FADE[0]) / (FADE[1] - FADE[0])).clamp(0, 1)
    share = way * way * (3 - 2 * way)  # neither picture begins or ceases to be seen at once
    return [Pass(times, 1 - share), Pass(times - frames * step, share)]
