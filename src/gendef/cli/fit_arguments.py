"""Arguments of `gendef fit`, apart from its work so that `--help` does not wait for torch."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions
from gendef.errors import InputError

if TYPE_CHECKING:
    from gendef.fitting.options import FitOptions

DESCRIPTION = (
    "Fit a canonical image and a deformation field to a real video, so that it can be edited, tracked and segmented "
    "through one image.\n\n"
    "While it runs, canonical.png in the clip folder is a preview. A fit that was stopped continues when the same "
    "command is given again. A video with cuts gives a clip folder for every scene; a long scene is split into "
    "segments in one clip folder.\n\n"
    "example: gendef fit my.mp4 --out clip\n\n"
    "example: gendef fit my.mp4 --out clip --start 100 --frames 60 --budget 60s\n\n"
    "example: gendef fit frames_folder --out clip --size 480 --quality best\n\n"
    "example: gendef fit my.mp4 --layers auto --out clip\n\n"
    "example: gendef fit my.mp4 --masks mask_of_first_frame.png --out clip\n\n"
    "example: gendef fit sunset.mp4 --illumination --out clip\n\n"
    "example: gendef fit clouds.mp4 --model sky --out clouds"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    video: Annotated[Path, tyro.conf.Positional]
    """Video file, animated gif, or folder of frames."""
    out: Path = field(default=Path("clip"))
    """Clip folder to write."""
    size: int = 270
    """Pixels of the shorter side that are fitted; smaller videos keep theirs."""
    start: int = 0
    """First frame."""
    frames: int | None = None
    """Number of frames; default all."""
    quality: Literal["fast", "default", "best"] = "default"
    """Number of refinement sweeps."""
    budget: str | None = None
    """Time to spend, such as 60s or 5m, whatever the quality; the result then depends on the machine."""
    seed: int = 0
    """The same seed gives the same result, if there is no budget."""
    model: str | None = None
    """Fit the clip inside this model (built-in, folder, or hub repository), and tune a copy of the model to it."""
    masks: Path | None = None
    """Folder of masks, one per frame, as gendef segment writes them; or one image, the mask of the first frame.
    Each label becomes a layer of its own."""
    layers: Literal["one", "auto"] = "one"
    """auto detects moving objects and gives them a layer in front of the background."""
    illumination: bool = False
    """Estimate the illumination of each frame too, apart from the canonical image: for clips that get brighter or
    darker."""
    segment: int = 120
    """Frames that one canonical image holds at most; longer clips become overlapping segments, each with its layers."""
    fps: float | None = None
    """Frames a second, evenly spaced, instead of what the video says; 25 for pictures."""
    stream: int | None = None
    """Which video stream of a file with several; default the film."""
    json: bool = False
    """Print the report as JSON."""
    common: CommonOptions = COMMON

    def fit_options(self) -> "FitOptions":
        """The options of the fit.

        Raises:
            InputError: one is out of its range.
        """
        from gendef.fitting.options import FitOptions

        return FitOptions(
            size=self.size,
            start=self.start,
            frames=self.frames,
            quality=self.quality,
            seed=self.seed,
            budget=None if self.budget is None else parse_seconds(self.budget),
            illumination=self.illumination,
            masks=self.masks,
            layers=self.layers,
            segment=self.segment,
            fps=self.fps,
            stream=self.stream,
        )


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef fit", description=DESCRIPTION)


def parse_seconds(text: str) -> float:
    """Seconds from 90, 90s, 1.5m or 1h.

    Raises:
        InputError: not of that form, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([smh]?)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise InputError(f"a budget must look like 60s, 5m or 1h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
