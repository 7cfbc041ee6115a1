"""Arguments of `gendef sample`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions
from gendef.model.hub import builtin_models


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    model: Annotated[str, tyro.conf.Positional]
    """Built-in model, model folder, or hub repository."""
    out: Path = field(default=Path("videos"))
    """Folder for the clips; each seed gets a folder and an mp4."""
    seeds: str = "0-3"
    """Seeds, such as 0-15 or 1,5,9."""
    frames: int = 64
    """Frames per video."""
    truncation: float = 1.0
    """1 for full variety; lower values give cleaner, more similar videos."""
    fps: float | None = None
    """Frame rate of the files; default that of the training data."""
    slow_motion: float = 1.0
    """Factor by which motion is slowed down; the model generates the in-between frames."""
    content_seed: int | None = None
    """Content seed for all videos."""
    motion_seed: int | None = None
    """Motion seed for all videos."""
    label: int | None = None
    """Class, for models with classes."""
    grid: bool = False
    """Also write grid.mp4: one row for the content and one column for the motion of every seed."""
    gif: bool = False
    """Also write a gif of each video."""
    frame_files: bool = False
    """Also write each frame as PNG."""
    draw: bool = False
    """Also write the deformation field and its flow as videos in the usual colour wheel."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Type of feature maps. 16 bits give nearly the same videos and are faster on some machines. auto: bfloat16 on CUDA
    GPUs and CPUs with AMX."""
    compile: bool = False
    """Compile the network of the fields with torch first, which takes a minute or more; for many long videos."""
    json: bool = False
    """Print what was written as JSON."""
    common: CommonOptions = COMMON


def _description() -> str:
    return (
        "Generate videos: for every seed a clip folder (canonical image, deformation field, preview) and an mp4.\n\n"
        f"built-in models: {', '.join(builtin_models()) or 'none'}\n\n"
        "example: gendef sample sky --seeds 0-15 --frames 128 --out videos\n\n"
        "example: gendef sample sky --seeds 0-7 --content-seed 3 --slow-motion 4 --out other-motions"
    )


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef sample", description=_description())
