"""`gendef train` for GANs: checks the options, starts the processes and runs the trainer."""

import sys

from gendef.cli.train_arguments import Arguments
from gendef.errors import ConfigError
from gendef.training.distributed import Group, process_group, started_by_launcher
from gendef.training.launch import start_processes
from gendef.training.run_folder import STAGES
from gendef.training.run_options import RunOptions, check_batch_sizes
from gendef.training.trainer import Stopped, Trainer


def run(arguments: Arguments, argv: list[str]) -> int | None:
    """Train in this process, or start `arguments.processes` processes with the same options `argv`.

    Raises:
        ConfigError: an option is out of range or does not fit the processes.
    """
    for option, value in (
        ("--minutes", arguments.minutes),
        ("--snapshot-minutes", arguments.snapshot_minutes),
    ):
        if value is not None and value <= 0:
            raise ConfigError(f"{option} must be positive, got {value}")
    stages = STAGES if arguments.stage == "both" else (arguments.stage,)
    if arguments.processes < 1:
        raise ConfigError(f"--processes must be at least 1, got {arguments.processes}")
    if arguments.processes > 1 and not started_by_launcher():
        check_batch_sizes(arguments.training, stages, Group(size=arguments.processes))
        return start_processes([sys.executable, "-m", "gendef", "train", *argv], arguments.processes)
    with process_group(arguments.device) as (group, device):
        if arguments.processes not in (1, group.size):
            raise ConfigError(f"{group.size} processes are running already: leave --processes out under torchrun")
        options = RunOptions(
            out=arguments.out,
            stages=stages,
            minutes=arguments.minutes,
            snapshot_minutes=arguments.snapshot_minutes,
            device=device,
            micro_batch=arguments.micro_batch,
        )
        trainer = Trainer(arguments.training, arguments.data, options, group)
        said = ""
        try:
            trainer.run()
        except Stopped as stopped:
            said = f"{stopped}\n"
    if group.is_main:
        print(f"{said}models and previews: {arguments.out}", file=sys.stderr)
    return 0
