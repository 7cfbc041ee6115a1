"""Arguments of `gendef segment`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Carry a mask or a label map through a clip; it lies on the canonical image, or on a frame with --frame. A video "
    "file or a folder of frames will do instead of a clip folder: then the mask of one frame is carried by features "
    "that look alike, and gendef fit --masks makes layers of the result.\n\n"
    "The mask is a picture (--mask: black and white, labels as grey levels or palette indices, or transparent around "
    "the object), or is made from clicks and a box; x,y are pixels, the top-left one is 0,0. Writes masks/00000.png, "
    "..., overlay.mp4, the sheet segments.png, and for a clip canonical_mask.png.\n\n"
    "example: gendef segment videos/seed0000 --mask mask.png --out segments\n\n"
    "example: gendef segment videos/seed0000 --click 40,18 44,25 --not-click 10,50 --out segments\n\n"
    "example: gendef segment videos/seed0000 --box 20,4,60,40 --frame 12 --out segments\n\n"
    "example: gendef segment my.mp4 --box 120,40,200,180 --out segments && "
    "gendef fit my.mp4 --masks segments --out clip"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder; or a video file, an animated gif, a folder of frames."""
    mask: Path | None = None
    """Image of a mask or of labels, at any size."""
    click: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """Points x,y on the object, in pixels of the canonical image, or of the frame in its file; may be repeated."""
    not_click: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """Points x,y beside the object; may be repeated."""
    box: str | None = None
    """A box x0,y0,x1,y1 around the object."""
    frame: int | None = None
    """Frame of the mask, clicks and box; default the canonical image, or for a video the first frame that is read."""
    layer: int | None = None
    """Layer whose canonical image they are given on, in a clip with layers; default 0, the rearmost."""
    method: Literal["grabcut", "walk", "sam2"] = "grabcut"
    """How clicks and a box make a mask: GrabCut or random walks (both extra fit), or SAM 2 (its own package)."""
    start: int | None = None
    """First frame of a video; default 0."""
    frames: int | None = None
    """Number of frames of a video; default all."""
    size: int | None = None
    """Shorter side of a video's masks in pixels; default 480; smaller videos keep theirs."""
    out: Path = field(default=Path("segments"))
    """Folder for the results."""
    json: bool = False
    """Print the area of each label in each frame, in pixels, as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef segment", description=DESCRIPTION)
