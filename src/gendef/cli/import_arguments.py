"""Arguments of `gendef import`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Make a clip of the STMaps of another program and a plate for them to look into. R is u from left to right, G is v "
    "from bottom to top, 0 to 1, in one EXR file a frame; A, where there is one, is the visibility.\n\n"
    "example: gendef import stmaps/ --canonical plate.png --out clip"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    stmaps: Annotated[Path, tyro.conf.Positional]
    """Folder of EXR files, one a frame; files named after inverse maps or canonical images are left out."""
    canonical: Path
    """The picture that the maps look into."""
    out: Path = Path("clip")
    """Clip folder to write."""
    fps: float = 25.0
    """Frames a second."""
    json: bool = False
    """Print what was written as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef import", description=DESCRIPTION)
