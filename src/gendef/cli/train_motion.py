"""`gendef train --model motion`."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from gendef.cli.common import COMMON, CommonOptions, set_up_logging
from gendef.errors import ConfigError
from gendef.training.motion_preparation import Teller

DESCRIPTION = """Train a motion prior on motion data: which parts of an image move, and how. `gendef animate PHOTO
--model FOLDER` uses it. Stop it at any moment; the same command continues.

example: gendef train --model motion --data sky.motions --out runs/sky --hold-out 's02*' 's03*'

example: gendef train --model motion --data sky.motions water.motions --out runs/both --minutes 20"""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    import tyro

    from gendef.training.motion import MotionTrainConfig

    @dataclass(frozen=True)
    class Arguments:
        data: tuple[Path, ...]
        """Motion data made by `gendef data motions`; the labels in it become the labels of the prior."""
        out: Path
        """Folder of the run: prior/ (the model), checkpoints, metrics.jsonl, preview.png."""
        training: Annotated[MotionTrainConfig, tyro.conf.arg(name="")]
        model: Literal["motion"] = "motion"
        """A motion prior; other models have other options (`gendef train --help`)."""
        hold_out: tuple[str, ...] = ()
        """Shell patterns of sources that are held out of the training; the loss on them is measured."""
        label: str | None = None
        """Domain that the prior samples by default, one of the data's labels; default the first."""
        still: tuple[Path, ...] = ()
        """Motion data of still cameras, of any domain; its still parts are examples of stillness for that label."""
        still_pictures: tuple[Path, ...] = ()
        """Videos or folders of images that show nothing of that label's domain, such as streets for sky; everything in
        them counts as still."""
        minutes: float | None = None
        """Stop after this many minutes, with everything saved."""
        common: CommonOptions = COMMON

    arguments = tyro.cli(Arguments, args=argv, prog="gendef train", description=DESCRIPTION)
    set_up_logging(arguments.common)
    if arguments.minutes is not None and arguments.minutes <= 0:
        raise ConfigError(f"--minutes must be positive, got {arguments.minutes}")
    from gendef.data.motions import MotionSet, joined
    from gendef.training.motion import PRIOR, MotionTrainer
    from gendef.training.motion_still import still_pictures

    windows = joined([MotionSet.load(path) for path in arguments.data])
    still = [MotionSet.load(path) for path in arguments.still]
    if arguments.still_pictures:
        still.append(still_pictures(arguments.still_pictures, windows))
    trainer = MotionTrainer(
        arguments.training,
        windows,
        arguments.hold_out,
        arguments.out,
        _Lines(),
        label=arguments.label,
        still=joined(still) if still else None,
    )
    trainer.run(arguments.minutes)
    done = trainer.step == arguments.training.steps
    said = "" if done else f"stopped at step {trainer.step} of {arguments.training.steps}; the same command continues\n"
    print(f"{said}the prior: {arguments.out / PRIOR}", file=sys.stderr)
    return 0


class _Lines(Teller):
    """Progress as lines on stderr, one every few seconds, with the time left of the part."""

    def __init__(self, every: float = 5.0) -> None:
        self._every, self._part, self._last = every, "", 0.0
        self._started, self._first = 0.0, 0

    def __call__(self, what: str, done: int, total: int, **values: float) -> None:
        now = time.monotonic()
        if what != self._part:
            self._part, self._started, self._first = what, now, done
        elif now - self._last < self._every and done < total:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        left = f"  {(total - done) / rate:.0f} s left" if rate > 0 else ""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        print(f"{what} {done}/{total}{left}  {shown}", file=sys.stderr, flush=True)
