"""Arguments of `gendef show`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Draw what a clip is made of: its canonical image, its frames, the deformation fields in the usual colour wheel, "
    "and the canonical image's straight grid as each frame bends it. Of a clip of layers: each layer alone.\n\n"
    "example: gendef show videos/seed0000 --out figure.png\n\n"
    "example: gendef show videos/seed0000 --out moving.mp4"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder."""
    out: Path = field(default=Path("figure.png"))
    """Image (png, jpg), or mp4 or gif for an animated figure."""
    frames: int = 6
    """Frames in the picture, spread over the clip."""
    side: int | None = None
    """Shorter side of a frame in the figure, in pixels; default 176, in the animated figure 256."""
    json: bool = False
    """Print sizes and how the clip was made as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef show", description=DESCRIPTION)
