"""`gendef train`: both stages, resumable."""

from pathlib import Path

import tyro

from gendef.cli.common import set_up_logging
from gendef.cli.train_arguments import Arguments, from_file
from gendef.training.presets import PRESETS, as_model, preset

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


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
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
    description = DESCRIPTION + "\n".join(f"  {key}: {text}" for key, (text, _) in PRESETS.items())
    start = Arguments(data=tyro.MISSING, out=tyro.MISSING, training=defaults)
    arguments = tyro.cli(Arguments, args=argv, prog="gendef train", description=description, default=start)
    set_up_logging(arguments.common)
    from gendef.cli.train_gan import run

    return run(arguments, argv)
