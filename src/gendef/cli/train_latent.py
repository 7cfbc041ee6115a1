"""`gendef train --model latent`: an autoencoder and the prior of its latents, resumable."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

from gendef.cli.common import COMMON, CommonOptions, set_up_logging
from gendef.errors import ConfigError
from gendef.training.latent import STAGES, LatentOptions, LatentTrainer
from gendef.training.latent_config import LatentTrainConfig
from gendef.training.trainer import Stopped

DESCRIPTION = """Train the image side of a latent model on a data archive: an autoencoder of frames, then a prior of its
latents by flow matching. Stop it at any moment; the same command continues.

example: gendef train --model latent --data all.zip --out runs/ae --stage autoencoder

example: gendef train --model latent --data sky.zip --out runs/sky --stage prior --from-autoencoder runs/ae/autoencoder
"""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    import tyro

    @dataclasses.dataclass(frozen=True)
    class Arguments:
        data: Path
        """Data archive made by `gendef data prepare`."""
        out: Path
        """Folder of the run: checkpoints, models, previews, metrics."""
        training: Annotated[LatentTrainConfig, tyro.conf.arg(name="")]
        model: Literal["latent"] = "latent"
        """The latent model; other models have other options (`gendef train --help`)."""
        stage: Literal["autoencoder", "prior", "both"] = "both"
        """Run one stage alone, or both."""
        autoencoder_folder: Annotated[Path | None, tyro.conf.arg(name="from-autoencoder")] = None
        """Folder of a trained autoencoder for the prior; default the run's own."""
        start_from: Path | None = None
        """Model folder whose weights a new run starts from, such as checkpoints/sky256."""
        motion: str | None = None
        """Built-in motion prior that moves the images, such as sky; its name is kept in the model."""
        minutes: float | None = None
        """Stop after this many minutes, with everything saved."""
        snapshot_minutes: float = 10.0
        """Minutes between two checkpoints with previews."""
        device: str = "auto"
        """cpu, cuda, mps, or auto."""
        common: CommonOptions = COMMON

    arguments = tyro.cli(Arguments, args=argv, prog="gendef train", description=DESCRIPTION)
    set_up_logging(arguments.common)
    for option, value in (("--minutes", arguments.minutes), ("--snapshot-minutes", arguments.snapshot_minutes)):
        if value is not None and value <= 0:
            raise ConfigError(f"{option} must be positive, got {value}")
    options = LatentOptions(
        out=arguments.out,
        stages=STAGES if arguments.stage == "both" else (arguments.stage,),
        autoencoder=arguments.autoencoder_folder,
        start=arguments.start_from,
        motion=arguments.motion,
        minutes=arguments.minutes,
        snapshot_minutes=arguments.snapshot_minutes,
        device=arguments.device,
    )
    said = ""
    try:
        LatentTrainer(arguments.training, arguments.data, options).run()
    except Stopped as stopped:
        said = f"{stopped}\n"
    print(f"{said}models and previews: {arguments.out}", file=sys.stderr)
    return 0
