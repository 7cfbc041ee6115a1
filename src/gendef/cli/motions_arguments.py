"""Arguments of `gendef motions`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Give the content of a clip, edited or not, other motions: from the model that made it, for an animated "
    "photograph from its motion prior, or of another clip. In a "
    "clip of layers each layer moves as the layer of that name, or of that number, in the other clip.\n\n"
    "example: gendef motions videos/seed0000 --seeds 1-8 --out motions\n\n"
    "example: gendef motions edited/clip --motion-of videos/seed0003 --out motions"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder; its canonical image is kept."""
    out: Path = field(default=Path("motions"))
    """Folder for the new clips with their mp4 files, motions.mp4 with all of them, and sheet.png."""
    seeds: str = "1-8"
    """Seeds of the motions, such as 1-8 or 1,5,9."""
    model: str | None = None
    """The model that made the clip, if it was renamed or moved."""
    motion_of: Path | None = None
    """Take the motion of this clip instead of a model's."""
    json: bool = False
    """Print what was written as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef motions", description=DESCRIPTION)
