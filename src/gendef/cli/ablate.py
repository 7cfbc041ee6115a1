"""`gendef ablate`: the comparisons of the paper, trained under an equal budget, as one resumable command."""

import json
import sys

from gendef.cli.ablate_arguments import Arguments, parse
from gendef.cli.progress import progress_bar
from gendef.cli.train_arguments import from_file
from gendef.cli.values import parse_seeds
from gendef.errors import InputError


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    from gendef.evaluation.features import default_cache
    from gendef.experiments.paper_tables import BASELINES
    from gendef.experiments.run import MEASURES, PRETRAINED, Budget, EvaluationSpec, measure_row, train_row
    from gendef.experiments.suites import suite
    from gendef.experiments.table import SuiteTable
    from gendef.training.micro_batch import MicroBatches
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
    if arguments.paper_data not in BASELINES:
        raise InputError(f"the paper has no numbers for {arguments.paper_data!r}; it has {', '.join(BASELINES)}")
    if arguments.count < 2 or arguments.clips_per_video < 1:
        raise InputError(
            f"--count must be at least 2 and --clips-per-video at least 1, got {arguments.count},"
            f" {arguments.clips_per_video}"
        )
    MicroBatches(arguments.micro_batch)  # a number that cannot be is told before anything is written
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
    spec = EvaluationSpec(
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
                    spec,
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
