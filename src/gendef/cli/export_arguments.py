"""Arguments of `gendef export`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Write a clip as one HTML file that needs no server and no network: it plays, shows the deformation field, and "
    "lets whoever opens it paint on the canonical image and watch the moving video follow. With --to, write STMaps and "
    "scripts for a compositing program instead.\n\n"
    "example: gendef export clip --to nuke --out for_nuke\n\n"
    "example: gendef export videos/seed0000 --html clip.html\n\n"
    'example: gendef export videos/seed0000 --html clip.html --title "A morning in May" --max-megabytes 8'
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder."""
    html: Path = Path("clip.html")
    """The page to write."""
    to: Literal["nuke", "fusion", "blender"] | None = None
    """Write STMaps, inverse STMaps and the canonical image as EXR for this program, and clip.nk for Nuke."""
    out: Path | None = None
    """Folder for --to; default the program's name."""
    size: int | None = None
    """Shorter side of the STMaps in pixels; default the clip's."""
    title: str | None = None
    """Heading of the page; default the clip folder's name."""
    max_megabytes: float = 4.0
    """Largest size of the page; the field is stored more coarsely to stay below it."""
    json: bool = False
    """Print what was written as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef export", description=DESCRIPTION)
