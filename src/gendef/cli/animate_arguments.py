"""Arguments of `gendef animate`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Make a photograph move, with motion learned from real videos. Writes the clip folder OUT and the video "
    "OUT.mp4.\n\n"
    "The motion prior predicts which parts move, unless --mask, --click or --box select them. Points are x,y in "
    "pixels of the photograph, with the top-left pixel at 0,0.\n\n"
    "example: gendef animate photo.jpg --model sky --out clip\n\n"
    "example: gendef animate photo.jpg --model sky --mask sky.png --loop --gif --out clip\n\n"
    "example: gendef animate photo.jpg --click 300,80 --arrow 320,200:420,190 --out clip\n\n"
    "example: gendef animate photo.jpg --direction left --speed 0.5 --strength 1.5 --still houses.png --out clip"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    photo: Annotated[Path, tyro.conf.Positional]
    """Image file."""
    model: str = "sky"
    """Motion prior: a built-in name or a folder."""
    out: Path = Path("clip")
    """Clip folder; the video is written beside it with the suffix .mp4."""
    seed: int = 0
    """Seed of the motion."""
    frames: int = 64
    """Frames of the video."""
    fps: float | None = None
    """Frames per second; default that of the prior."""
    size: int | None = None
    """Shorter side in pixels; default that of the photograph."""
    mask: Path | None = None
    """Mask of what moves: white, or opaque; with the photograph's aspect ratio."""
    click: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A point x,y on the moving object; may be repeated."""
    not_click: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A point x,y beside the moving object; may be repeated."""
    box: str | None = None
    """A box x0,y0,x1,y1 around the moving object."""
    method: Literal["grabcut", "walk", "sam2"] = "grabcut"
    """How clicks and a box become a mask; see gendef segment."""
    still: Path | None = None
    """Mask of what never moves."""
    layer: Literal["auto", "behind", "front"] = "auto"
    """behind: the moving part lies behind the rest, and its outline is fixed; front: it lies in front, and its outline
    moves; auto: front for an object that was clicked or boxed and does not touch the image border."""
    arrow: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """An arrow x0,y0:x1,y1: content at the first point in frame 0 ends at the second; may be repeated."""
    direction: str | None = None
    """Mean direction of motion: right, up, left, down, or an angle in degrees, counter-clockwise from the right."""
    strength: float = 1.0
    """Factor on distances; 0 is a still video."""
    speed: float = 1.0
    """Factor on the speed of the motion."""
    loop: bool = False
    """Make the last frame lead back to the first."""
    border: Literal["fill", "crop"] = "fill"
    """fill: fill in content that enters from outside the photograph; crop: crop the video instead."""
    label: str | None = None
    """Domain, for a prior of several domains."""
    gif: bool = False
    """Also write OUT.gif."""
    json: bool = False
    """Print the written files as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef animate", description=DESCRIPTION)
