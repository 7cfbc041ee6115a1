"""Arguments of `gendef flow`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

DESCRIPTION = (
    "Write the optical flow of a clip from each frame to the next, and a drawing of it.\n\n"
    "--kind image: where each pixel of a frame goes in the next frame, in pixels of the frames; unknown where its "
    "content leaves the picture.\n"
    "--kind canonical: the paper's flow, how the place in the canonical image changes where each pixel looks, in "
    "pixels of the canonical image.\n\n"
    "example: gendef flow videos/seed0000 --out flow\n\n"
    "example: gendef flow videos/seed0000 --kind canonical --format npz --out flow"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder."""
    out: Path = field(default=Path("flow"))
    """Folder for the flow files and flow.mp4."""
    kind: Literal["image", "canonical"] = "image"
    """Flow in the frames, or in the canonical image."""
    format: Literal["flo", "npz"] = "flo"
    """One Middlebury .flo for every pair of frames, or all of them in flow.npz."""
    json: bool = False
    """Print statistics as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef flow", description=DESCRIPTION)
