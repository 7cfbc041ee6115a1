"""Arguments of `gendef track`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Follow points through a clip, to sub-pixel positions in every frame. A video file or a folder of frames will do "
    "instead of a clip folder: then points of one frame are followed by optical flow and features that look alike.\n\n"
    "Points are x,y in pixels, the centre of the top-left pixel at 0,0; on the canonical image, or on a frame with "
    "--frame. Writes tracks.csv, tracks.npz, tracks.mp4 with fading trails, and the sheet tracks.png.\n\n"
    "example: gendef track videos/seed0000 --points 20,30 41.5,12 --out tracks\n\n"
    "example: gendef track videos/seed0000 --grid 8 --frame 12 --out tracks\n\n"
    "example: gendef track my.mp4 --points 320,200 --frame 40 --out tracks"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder; or a video file, an animated gif, a folder of frames."""
    points: tuple[str, ...] = ()
    """Points as x,y, in pixels of the canonical image, or of the frame in its file."""
    csv: Path | None = None
    """File of points, one x,y per line, with or without a header."""
    grid: int | None = None
    """Number of points along the shorter side of a regular grid."""
    frame: int | None = None
    """Frame on which the points lie; default the canonical image, or for a video the first frame that is read."""
    layer: int | None = None
    """Layer whose canonical image they are given on, in a clip with layers; default 0, the rearmost."""
    start: int | None = None
    """First frame of a video; default 0."""
    frames: int | None = None
    """Number of frames of a video; default all."""
    size: int | None = None
    """Shorter side in pixels at which a video is processed; default 240."""
    to: Literal["nuke", "ae", "blender"] | None = None
    """Also write the tracks for this program. Four points (top left, top right, bottom right, bottom left) give a
    corner pin too."""
    out: Path = field(default=Path("tracks"))
    """Folder for the results."""
    json: bool = False
    """Print positions and visibility as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef track", description=DESCRIPTION)
