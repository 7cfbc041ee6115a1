"""What a fit depends on besides the video: one object for `gendef.fit_video`, `gendef fit` and the app."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from gendef.errors import InputError

Quality = Literal["fast", "default", "best"]
"""How many sweeps a fit makes; see `gendef.fitting.schedule.SWEEPS`."""
Layers = Literal["one", "auto"]
"""one: a single canonical image. auto: independently moving objects get layers of their own."""
SEGMENT = 120
"""Default for the largest number of frames that share one canonical image."""
OVERLAP = 8
"""Frames that consecutive segments share."""
MAX_SEED = 2**31 - 1
"""Largest seed that OpenCV's random generator takes."""
RESULT_SETTINGS = ("quality", "seed", "budget", "illumination")
"""Options that are recorded in the `info` of a clip."""


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit.

    Attributes:
        size: pixels of the shorter side of the fitted frames; smaller videos keep their size.
        start: first frame.
        frames: number of frames; None: all.
        quality: number of sweeps: fast, default or best.
        seed: of the random choices in finding the camera motion.
        budget: seconds for the whole fit. It replaces the number of sweeps, and the result depends on the machine.
        illumination: estimate the illumination of every frame too; see `gendef.fitting.illumination`.
        masks: folder with one mask for every frame, or a picture with the mask of the first frame; see
            `gendef.fitting.masks.layer_masks`. Every label becomes a layer.
        layers: auto detects independently moving objects where there are no masks; see
            `gendef.fitting.motion_segmentation`.
        segment: a scene with more frames is split into overlapping segments of at most this many.
        fps: frames a second, instead of the source's; None: the source's frame times.
        stream: which video stream of a file; None: the film.

    Raises:
        InputError: quality, layers, seed, budget or segment is out of its range. Size, start and frames are checked
            by `gendef.media.footage.read_footage`.
    """

    size: int = 270
    start: int = 0
    frames: int | None = None
    quality: Quality = "default"
    seed: int = 0
    budget: float | None = None
    illumination: bool = False
    masks: str | Path | None = None
    layers: Layers = "one"
    segment: int = SEGMENT
    fps: float | None = None
    stream: int | None = None

    def __post_init__(self) -> None:
        check_schedule(self.quality, self.seed, self.budget)
        if self.layers not in get_args(Layers):
            raise InputError(f"layers must be one of {', '.join(get_args(Layers))}, got {self.layers!r}")
        if self.segment < 2 * OVERLAP:
            raise InputError(f"a segment must have at least {2 * OVERLAP} frames, got {self.segment}")

    def result_settings(self) -> dict[str, Any]:
        """The options that decide the result for given frames, as plain values."""
        values = asdict(self)
        return {name: values[name] for name in RESULT_SETTINGS}


def check_schedule(quality: str, seed: int, budget: float | None) -> None:
    """Check the options that a fit and an inversion have in common.

    Raises:
        InputError: one of them is out of its range.
    """
    if quality not in get_args(Quality):
        raise InputError(f"quality must be one of {', '.join(get_args(Quality))}, got {quality!r}")
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"seed must be between 0 and {MAX_SEED}, got {seed}")
    if budget is not None and not budget > 0:
        raise InputError(f"budget must be a positive number of seconds, got {budget}")
