"""`gendef train`: both stages, resumable."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from gendef.cli.common import COMMON, CommonOptions, set_up_logging
from gendef.errors import ConfigError
from gendef.training.config import TrainConfig
from gendef.training.distributed import Group, process_group, started_by_launcher
from gendef.training.launch import start_processes
from gendef.training.presets import PRESETS, as_model, preset
from gendef.training.run_folder import STAGES
from gendef.training.run_options import RunOptions, check_batch_sizes
from gendef.training.trainer import Stopped, Trainer

DESCRIPTION = """Train GenDeF on a data archive: a canonical image generator on single frames, then canonical images and
deformation fields together on clips. Stop it at any moment; the same command continues.

example: gendef train --data sky64.zip --preset mini64 --out runs/sky

example: gendef train --data sky64.zip --preset mini64 --out runs/sky --minutes 30 --pretrain.batch-size 32

example: gendef train --data sky64.zip --preset mini64 --out runs/baseline --model stylegan-v

example: gendef train --data sky64.zip --preset mini64 --out runs/sky --processes 2

example: gendef train --model latent --data sky256.zip --out runs/latent   (`gendef train --model latent --help`)

example: gendef train --model motion --data sky.motions --out runs/motion   (`gendef train --model motion --help`)

example: torchrun --nproc-per-node 8 -m gendef train --data sky256.zip --preset sky256 --out runs/sky256

presets:
"""


def _split_arguments(argv: list[str]) -> tuple[str, str, Path | None]:
    """The preset, model and configuration file named in `argv`, which decide the defaults of all other options."""
    name, model, file = "mini64", "gendef", None
    for position, argument in enumerate(argv):
        key, _, value = argument.partition("=")
        value = value or (argv[position + 1] if position + 1 < len(argv) else "")
        if key == "--preset":
            name = value
        elif key == "--model":
            model = value
        elif key == "--config":
            file = Path(value)
    return name, model, file


def from_file(path: Path, base: TrainConfig) -> TrainConfig:
    """`base` with what the YAML file at `path` says otherwise.

    Raises:
        ConfigError: it cannot be read, or a field does not exist or is impossible.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a table of fields")
    return TrainConfig.from_dict(_merged(base.to_dict(), values.get("training", values)))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        inner = base.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def main(argv: list[str]) -> int | None:
    """Run the command."""
    import tyro

    name, model, file = _split_arguments(argv)
    if model == "latent":
        from gendef.cli.train_latent import main as train_latent

        return train_latent(argv)
    if model == "motion":
        from gendef.cli.train_motion import main as train_motion

        return train_motion(argv)
    defaults = as_model(preset(name), model)
    if file is not None:
        defaults = from_file(file, defaults)

    @dataclasses.dataclass(frozen=True)
    class Arguments:
        data: Path
        """Data archive made by `gendef data prepare`."""
        out: Path
        """Folder of the run: checkpoints, models, previews, metrics."""
        training: Annotated[TrainConfig, tyro.conf.arg(name="")] = defaults
        preset: Literal["sky256", "taichi256", "ytb256", "base128", "mini64", "tiny32"] = "mini64"
        """Where all other settings start from."""
        model: Literal["gendef", "stylegan-v", "stylesv-mtm", "mocogan"] = "gendef"
        """GenDeF, or a baseline of the paper's Table 1 in networks of the same widths, which paints every frame."""
        config: Path | None = None
        """YAML file with settings that differ from the preset."""
        stage: Literal["pretrain", "finetune", "both"] = "both"
        """Run one stage alone, or both."""
        minutes: float | None = None
        """Stop after this many minutes, with everything saved."""
        snapshot_minutes: float = 10.0
        """Minutes between two checkpoints with previews."""
        device: str = "auto"
        """cpu, cuda, mps, or auto."""
        micro_batch: int | None = None
        """Compute so many samples of a process's batch at once: less memory for one more forward pass."""
        processes: int = 1
        """Processes to train with on this machine, one a GPU, or with a part of the CPU's threads each; torchrun starts
        them on several machines."""
        common: CommonOptions = COMMON

    description = DESCRIPTION + "\n".join(f"  {key}: {text}" for key, (text, _) in PRESETS.items())
    arguments = tyro.cli(Arguments, args=argv, prog="gendef train", description=description)
    set_up_logging(arguments.common)
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
