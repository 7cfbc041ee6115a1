"""Arguments of `gendef bench`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions
from gendef.training.presets import PresetName

DESCRIPTION = (
    "Time the sampling of a video, phase by phase, beside the plain torch forms of all "
    "kernels and beside the rate at which this machine multiplies matrices.\n\n"
    "example: gendef bench --model sky --frames 128\n\n"
    "example: gendef bench --preset sky256 --frames 16 --out bench.json"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    model: str | None = None
    """Built-in model, model folder, or hub repository."""
    preset: PresetName | None = None
    """The networks of a training preset with random weights instead, such as sky256 (the paper's size)."""
    frames: int = 128
    """Frames of the video."""
    runs: int = 3
    """Number of timed videos after one to warm up; medians are reported."""
    reference: bool = True
    """Time the plain torch forms of the kernels, too."""
    threads: int | None = None
    """CPU threads; default all."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Type of the feature maps, also for the plain forms; auto: bfloat16 on CUDA GPUs and CPUs with AMX."""
    compile: bool = False
    """Have torch compile the network of the fields; not with the plain forms."""
    out: Path | None = None
    """Also write the figures to this JSON file; benchmarks/compare.py compares two such files."""
    json: bool = False
    """Print the figures as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef bench", description=DESCRIPTION)
