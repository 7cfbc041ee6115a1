"""`gendef ablate`: the comparisons of the paper, trained under an equal budget, as one resumable command."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.progress import progress_bar
from gendef.cli.train import from_file
from gendef.cli.values import parse_seeds
from gendef.errors import InputError

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
    """Folder of the suite: one run a row, table.md and table.json."""
    suite: Literal["baselines", "paper"] = "baselines"
    """Table 1, or the ablations."""
    preset: Literal["sky256", "taichi256", "ytb256", "base128", "mini64", "tiny32"] = "tiny32"
    """Networks and settings of GenDeF; the other rows follow from it."""
    config: Path | None = None
    """YAML file with settings that differ from the preset."""
    pretrain_minutes: float = 10.0
    """Budget of stage 1; rows without it have as much more for stage 2."""
    finetune_minutes: float = 10.0
    """Budget of stage 2."""
    rows: str | None = None
    """Train and measure these rows only, such as gendef,stylegan-v; the table shows all that are there."""
    real: Path | None = None
    """What to measure against; default the training data, as is the custom of the field."""
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
    """Data set whose numbers of the paper stand in the table."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    micro_batch: int | None = None
    """Compute so many samples of a batch at once: less memory for one more forward pass."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the table as JSON."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    arguments = tyro.cli(Arguments, args=argv, prog="gendef ablate", description=DESCRIPTION)
    from gendef.evaluation.features import default_cache
    from gendef.experiments.paper_tables import RIVALS
    from gendef.experiments.run import MEASURES, PRETRAINED, Against, Budget, measure_row, train_row
    from gendef.experiments.suites import suite
    from gendef.experiments.table import SuiteTable
    from gendef.training.micro_batch import Parts
    from gendef.training.presets import preset
    from gendef.training.trainer import Stopped

    config = preset(arguments.preset)
    if arguments.config is not None:
        config = from_file(arguments.config, config)
    rows = suite(arguments.suite, config)
    chosen = _picked(arguments.rows, [row.name for row in rows], "row")
    names = [measure.name for measure in MEASURES]
    wanted = [] if arguments.measures == "none" else _picked(arguments.measures, names, "measure")
    measures = [measure for measure in MEASURES if measure.name in wanted]
    seeds = parse_seeds(arguments.seeds)
    budget = Budget(arguments.pretrain_minutes * 60, arguments.finetune_minutes * 60)
    if arguments.paper_data not in RIVALS:
        raise InputError(f"the paper has no numbers for {arguments.paper_data!r}; it has {', '.join(RIVALS)}")
    if arguments.count < 2 or arguments.clips_per_video < 1:
        raise InputError(
            f"--count must be at least 2 and --clips-per-video at least 1, got {arguments.count},"
            f" {arguments.clips_per_video}"
        )
    Parts(arguments.micro_batch)  # a number that cannot be is told before anything is written
    try:
        for row in rows:
            if row.name in chosen:
                print(f"row {row.name}: {row.title}", file=sys.stderr)
                train_row(
                    row,
                    rows[0].config,
                    arguments.data,
                    arguments.out,
                    budget,
                    arguments.device,
                    arguments.micro_batch,
                )
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 0
    against = Against(
        arguments.real or arguments.data,
        arguments.count,
        arguments.clips_per_video,
        seeds,
        arguments.detector_weights,
        default_cache(),
        arguments.device,
    )
    with progress_bar() as progress:
        for name in [PRETRAINED, *chosen] if measures else []:
            if (arguments.out / name).is_dir():
                task = progress.add_task(f"measuring {name}", total=None)
                measure_row(
                    arguments.out / name,
                    measures,
                    against,
                    on_clip=lambda count, task=task: progress.advance(task, count),  # type: ignore[misc]
                )
    table = SuiteTable.gather(arguments.suite, rows, arguments.out, budget, arguments.paper_data)
    table.write(arguments.out)
    print(json.dumps(table.to_dict()) if arguments.json else table.markdown())
    return 0


def _picked(text: str | None, known: list[str], what: str) -> list[str]:
    """The names in `text`, all where it is None.

    Raises:
        InputError: one is unknown.
    """
    names = known if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise InputError(f"there is no {what} {name!r}; known: {', '.join(known)}")
    return names
