"""`gendef track`: points followed through a clip."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from gendef.applications.track import checked_frame, grid_points
from gendef.applications.track_files import write_tracks
from gendef.canonical_video import CanonicalVideo
from gendef.cli.layers import chosen_layer
from gendef.cli.points import parse_points, read_points
from gendef.cli.progress import progress_bar
from gendef.composite import CompositeVideo, canonical_pictures, load_clip
from gendef.errors import InputError

DESCRIPTION = (
    "Follow points through a clip, to sub-pixel positions in every frame.\n\n"
    "Points are x,y in pixels, the centre of the top-left pixel at 0,0; on the canonical image, or on a frame with "
    "--frame. Writes tracks.csv, tracks.npz, tracks.mp4 with fading trails, and the sheet tracks.png.\n\n"
    "example: gendef track videos/seed0000 --points 20,30 41.5,12 --out tracks\n\n"
    "example: gendef track videos/seed0000 --grid 8 --frame 12 --out tracks"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder."""
    points: tuple[str, ...] = ()
    """Points as x,y."""
    csv: Path | None = None
    """File of points, x,y in a line, under a heading or none."""
    grid: int | None = None
    """A regular grid of points, so many along the shorter side."""
    frame: int | None = None
    """Frame on which the points lie; default the canonical image."""
    layer: int | None = None
    """Layer on whose canonical image they lie, in a clip of layers; default 0, the one at the back."""
    out: Path = field(default=Path("tracks"))
    """Folder for the results."""
    json: bool = False
    """Print positions and visibility as JSON."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    arguments = tyro.cli(Arguments, args=argv, prog="gendef track", description=DESCRIPTION)
    clip = load_clip(arguments.clip)
    layer = chosen_layer(clip, arguments.layer, arguments.frame)
    points = _points(arguments, clip, layer)
    if isinstance(clip, CompositeVideo):
        tracks = clip.track(points, arguments.frame, layer)
    else:
        tracks = clip.track(points, arguments.frame)
    with progress_bar() as progress:
        task = progress.add_task("drawing", total=clip.num_frames)
        write_tracks(clip, tracks, arguments.out, lambda: progress.advance(task))
    seen = tracks.visible.float().mean().item()
    if arguments.json:
        report = {
            "frame": arguments.frame,
            "canonical": tracks.canonical.tolist(),
            "positions": tracks.positions.tolist(),
            "visible": tracks.visible.tolist(),
            "residual": tracks.residual.tolist(),
            **({} if tracks.layer is None else {"layer": tracks.layer.tolist()}),
            "out": str(arguments.out),
        }
        print(json.dumps(report))
    else:
        print(
            f"{len(tracks)} points in {clip.num_frames} frames, visible {100 * seen:.1f} % of the time; "
            f"look at {arguments.out / 'tracks.mp4'}"
        )
    return 0


def _points(arguments: Arguments, clip: CanonicalVideo | CompositeVideo, layer: int) -> Tensor:
    """All points that were asked for, (N, 2)."""
    parts: list[Tensor] = []
    if arguments.points:
        parts.append(torch.tensor(parse_points(arguments.points), dtype=torch.float64))
    if arguments.csv is not None:
        parts.append(torch.tensor(read_points(arguments.csv), dtype=torch.float64))
    if arguments.grid is not None:
        if arguments.frame is not None:
            checked_frame(clip, arguments.frame)
        tall, wide = canonical_pictures(clip)[layer][1].shape[1:]
        parts.append(grid_points(clip.size if arguments.frame is not None else (tall, wide), arguments.grid).double())
    if not parts:
        raise InputError("which points? Give --points x,y, --csv FILE or --grid N")
    return torch.cat(parts)
