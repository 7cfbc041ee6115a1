"""`gendef flow`: optical flow of a clip."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gendef.cli.progress import progress_bar
from gendef.video.flow import Kind
from gendef.video.layered_video import load_clip
from gendef.visualization.flow import (
    DRAWING,
    Format,
    write_flow,
)

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
    kind: Kind = "image"
    """Flow in the frames, or in the canonical image."""
    format: Format = "flo"
    """One Middlebury .flo for every pair of frames, or all of them in flow.npz."""
    json: bool = False
    """Print statistics as JSON."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    arguments = tyro.cli(Arguments, args=argv, prog="gendef flow", description=DESCRIPTION)
    clip = load_clip(arguments.clip)
    with progress_bar() as progress:
        task = progress.add_task("flow", total=clip.num_frames - 1)
        summary = write_flow(clip, arguments.out, arguments.kind, arguments.format, lambda: progress.advance(task))
    drawing = arguments.out / DRAWING
    if arguments.json:
        report = {"kind": arguments.kind, "pairs": clip.num_frames - 1, "drawing": str(drawing), **summary}
        print(json.dumps(report))
    else:
        print(
            f"{clip.num_frames - 1} flows in {arguments.out}: on average {summary['mean_speed']:.3g} pixels a frame, "
            f"known for {100 * summary['known']:.1f} % of the pixels; look at {drawing}"
        )
    return 0
