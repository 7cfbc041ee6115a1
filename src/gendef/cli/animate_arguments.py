"""Arguments of `gendef animate`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Make a photograph move, with motion learned from real videos. Writes the clip folder OUT and the video "
    "OUT.mp4.\n\n"
    "What moves is what the motion prior expects, or what --mask, --click or --box mark. Points are x,y in pixels of "
    "the photograph, the top-left one is 0,0.\n\n"
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
    """Motion prior: a built-in one, or its folder."""
    out: Path = Path("clip")
    """Clip folder; the video is written beside it with the suffix .mp4."""
    seed: int = 0
    """Seed of the motion."""
    frames: int = 64
    """Frames of the video."""
    fps: float | None = None
    """Frames a second; default the prior's."""
    size: int | None = None
    """Pixels of the shorter side; default the photograph's own size."""
    mask: Path | None = None
    """Picture of what moves: white, or opaque, where it does; of the photograph's shape."""
    click: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A point x,y on what moves; may be repeated."""
    not_click: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A point x,y beside what moves; may be repeated."""
    box: str | None = None
    """A box x0,y0,x1,y1 around what moves."""
    method: Literal["grabcut", "walk", "sam2"] = "grabcut"
    """How clicks and a box make a mask; see gendef segment."""
    still: Path | None = None
    """Picture of what stands still in any case."""
    layer: Literal["auto", "behind", "front"] = "auto"
    """Whether what moves lies behind the rest and its outline stands still, or before it and its outline moves along;
    auto: before it if it was clicked or boxed and lies within the picture."""
    arrow: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """An arrow x0,y0:x1,y1: what is at its start at first is at its tip at last; may be repeated."""
    direction: str | None = None
    """Where the motion goes on average: right, up, left, down, or degrees from the right over the top."""
    strength: float = 1.0
    """Factor on the distances."""
    speed: float = 1.0
    """Factor on the speed of the motion's course."""
    loop: bool = False
    """End where the video begins."""
    border: Literal["fill", "crop"] = "fill"
    """Fill in what comes in from beyond the border, or crop to where nothing does."""
    label: str | None = None
    """Domain, of a prior of several."""
    gif: bool = False
    """Also write OUT.gif."""
    json: bool = False
    """Print what was written as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef animate", description=DESCRIPTION)
