"""`gendef data motions`."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from gendef.cli.common import COMMON, CommonOptions, set_up_logging

DESCRIPTION = """Make motion data from videos: for windows of frames, the position of each pixel of a frame in the
window's middle frame, by chained optical flow. `gendef train --model motion` learns motion from it.

example: gendef data motions my_clouds/ --out sky.motions

example: gendef data motions clouds.mp4 sunset.mp4 --out evening.motions --label sky --stride 4"""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    import tyro

    from gendef.animation.motion_windows import MotionDataConfig

    @dataclass(frozen=True)
    class Arguments:
        source: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE...")]
        """Video files, folders of frames, folders of those, zips of clips."""
        out: Path
        """The file to write. The same command continues an interrupted run."""
        config: Annotated[MotionDataConfig, tyro.conf.arg(name="")]
        label: str | None = None
        """Domain of the videos, such as sky or water; default the name of the file."""
        only: tuple[str, ...] = ()
        """Use only sources whose name matches one of these shell patterns, such as 's0*'."""
        exclude: tuple[str, ...] = ()
        """Leave out sources whose name matches one of these shell patterns."""
        workers: int | None = None
        """Processes; default one per CPU. The result does not depend on it."""
        json: tyro.conf.FlagCreatePairsOff[bool] = False
        """Print the result as JSON."""
        common: CommonOptions = COMMON

    arguments = tyro.cli(Arguments, args=argv, prog="gendef data motions", description=DESCRIPTION)
    set_up_logging(arguments.common)
    from gendef.animation.motion_data import MotionProgress, make_motion_data
    from gendef.cli.progress import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("finding motion", total=None)

        def tell(progress: MotionProgress) -> None:
            done = f"finding motion ({progress.sources_done} of {progress.sources_total} videos)"
            bar.update(task, total=progress.frames_total or None, completed=progress.frames_done, description=done)

        report = make_motion_data(
            arguments.source,
            arguments.out,
            arguments.config,
            label=arguments.label,
            only=arguments.only,
            exclude=arguments.exclude,
            workers=arguments.workers,
            progress=tell,
        )
    for entry in report.skipped:
        print(f"skipped: {entry['source']}: {entry['reason']}", file=sys.stderr)
    for source in report.sources:
        if not source["windows"]:
            print(f"warning: {source['name']} gives no window ({source['left_out']} left out)", file=sys.stderr)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(report), indent=1))
    else:
        print(
            f"{report.out}: {report.windows} motion windows of {len(report.sources)} videos; {report.left_out} left"
            f" out, whose fields do not explain their frames; in {report.seconds:.1f} s"
        )
    return 0
