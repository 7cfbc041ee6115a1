"""Arguments of `gendef ablate`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions
from gendef.training.presets import PresetName

DESCRIPTION = """Train every row of a comparison of the paper under an equal budget, measure them, and write one table
with the paper's numbers beside ours. Stop it at any moment; the same command continues. On a CPU the budget counts
processor seconds, so that other programs do not matter.

suites: baselines (Table 1), paper (Tables 2 to 4, A1, A2)

example: gendef ablate --suite baselines --data sky32.zip --preset tiny32 --out runs/table1

example: gendef ablate --suite paper --data sky32.zip --preset tiny32 --out runs/ablations --rows gendef,no-feature
"""


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    data: Path
    """Data archive made by `gendef data prepare`, to train on."""
    out: Path
    """Folder of the suite: one run per row, table.md and table.json."""
    suite: Literal["baselines", "paper"] = "baselines"
    """Table 1, or the ablations."""
    preset: PresetName = "tiny32"
    """Networks and settings of GenDeF; the other rows follow from it."""
    config: Path | None = None
    """YAML file with settings that differ from the preset."""
    pretrain_minutes: float = 10.0
    """Budget of stage 1 in minutes; rows without stage 1 use it for stage 2."""
    finetune_minutes: float = 10.0
    """Budget of stage 2 in minutes."""
    rows: str | None = None
    """Train and measure only these rows, such as gendef,stylegan-v; the table shows all finished rows."""
    real: Path | None = None
    """Real clips to compare with; default the training data, as in the literature."""
    measures: str = "fvd16,fvd128,fvd16x8,fid"
    """What to measure; "none" only trains."""
    count: int = 256
    """Clips of each side."""
    clips_per_video: int = 16
    """Clips from each real video."""
    seeds: str = "0-1"
    """Measure with each of these seeds."""
    detector_weights: Path | None = None
    """File of the I3D weights, or the folder to look in; default the folder GENDEF_WEIGHTS."""
    paper_data: str = "SkyTimelapse"
    """Data set whose numbers from the paper are shown in the table."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    micro_batch: int | None = None
    """Samples of a batch that are computed at once; fewer need less memory and one more forward pass."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the table as JSON."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef ablate", description=DESCRIPTION)
