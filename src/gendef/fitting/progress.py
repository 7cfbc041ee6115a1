"""Progress of a fit or an inversion, as it is passed to a callback."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """How far a fit is.

    Attributes:
        stage: the present step in a few words.
        done: share of all work, in [0, 1]; never decreases.
        psnr: mean over the frames in dB; NaN before the first sweep.
        canonical: the present canonical image (3, h, w); None before there is one.
        scene: number of the scene that is fitted.
        scenes: number of scenes that are fitted in all.
    """

    stage: str
    done: float
    psnr: float = float("nan")
    canonical: Tensor | None = None
    scene: int = 0
    scenes: int = 1


ProgressCallback = Callable[[Progress], None]
"""Called after every step of work. An exception that it raises ends the fit."""


def no_progress(progress: Progress) -> None:
    """The default callback: it does nothing."""
