"""`gendef eval`: measure videos."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from gendef.cli import eval_single_arguments as single
from gendef.cli.common import set_up_logging
from gendef.cli.eval_sets_arguments import FID, FVD, MOTION, PROTOCOL, Comparison, Distance, Frames, Protocol
from gendef.cli.progress import progress_bar
from gendef.cli.values import parse_seeds
from gendef.errors import InputError

if TYPE_CHECKING:
    from gendef.evaluation.clip_sets import ClipSet
    from gendef.evaluation.sampling import Sampling

_log = logging.getLogger(__name__)

USAGE = """usage: gendef eval fvd FAKE REAL               FVD and KVD of clips (I3D)
       gendef eval fid FAKE REAL               Frechet and kernel distance of single frames (EfficientNet-Lite0)
       gendef eval motion FAKE REAL            distance of the motion: speed, direction, acceleration of optical flow
       gendef eval temporal VIDEO              warping error, speed, folding; with --edited, steadiness of an edit
       gendef eval reconstruction VIDEO TRUTH  PSNR, SSIM, LPIPS
       gendef eval tracking TRACKS TRUTH       TAP-Vid: AJ, position accuracy, occlusion accuracy
       gendef eval segmentation MASKS TRUTH    DAVIS: J, F, J&F
       gendef eval protocol PRESET             commands that would reproduce a row of the paper

FAKE and REAL are each a data archive, a folder of videos, saved clips, a video file, or a model by name or folder.

example: gendef eval fvd sky sky_test64.zip --count 256 --seeds 0-2
example: gendef eval fvd my_videos/ real_videos/ --detector-weights i3d-kinetics-400.ckpt
`gendef eval fvd --help` and so on explain each."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    if argv and argv[0] in _COMMANDS:
        arguments, run, text = _COMMANDS[argv[0]]
        parsed: Any = tyro.cli(arguments, args=argv[1:], prog=f"gendef eval {argv[0]}", description=text)
        set_up_logging(parsed.common)
        return run(parsed)
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    wrong = f"gendef eval: unknown measure {argv[0]!r}\n" if argv else ""
    print(wrong + USAGE, file=sys.stderr)
    return 2


def _open(arguments: Comparison) -> tuple["ClipSet", "ClipSet", list[int], list[list[int]]]:
    """Both sides, the seeds, and the number of clips of each side for each seed."""
    from gendef.evaluation.open_clips import open_clips
    from gendef.runtime.devices import choose_device

    seeds, sampling = parse_seeds(arguments.seeds), arguments.sampling()
    fake, real = (open_clips(name, choose_device(arguments.device)) for name in (arguments.fake, arguments.real))
    return (
        fake,
        real,
        seeds,
        [[len(side.windows(replace(sampling, seed=seed))) for seed in seeds] for side in (fake, real)],
    )


def _announce(fake: "ClipSet", real: "ClipSet", counts: list[list[int]], sampling: "Sampling") -> None:
    """Print on standard error what will be measured, and warnings about the comparison."""
    several = f", for each of {len(counts[0])} seeds" if len(counts[0]) > 1 else ""
    sides = zip((fake, real), counts, strict=True)
    text = " and ".join(f"{own[0]} clips of {side.name} ({side.kind})" for side, own in sides)
    print(f"measuring {text}, {sampling.frames} frames each{several}", file=sys.stderr)
    for side, own, other in ((fake, counts[0][0], counts[1][0]), (real, counts[1][0], counts[0][0])):
        if 4 * own < other:
            _log.warning(
                f"{side.name} has {own} clips for {other} of the other side: --count {own} measures as many of"
                " both, and --clips-per-video takes more clips from each video"
            )


class _TimeEstimate:
    """Prints once, after the first clips, the estimated time of the whole measurement."""

    AFTER_CLIPS = 8
    LEAST_SECONDS = 30.0
    """Shorter measurements are not announced."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._started = total, 0, time.perf_counter()

    def advance(self, count: int) -> None:
        """Count clips that are done."""
        before, self._done = self._done, self._done + count
        if before < self.AFTER_CLIPS <= self._done < self._total:
            seconds = (time.perf_counter() - self._started) / self._done * self._total
            if seconds >= self.LEAST_SECONDS:
                minutes, rest = divmod(round(seconds), 60)
                print(f"estimated: {minutes} min {rest} s for {self._total} clips", file=sys.stderr)


def _distance(arguments: Distance) -> int:
    from gendef.evaluation.detectors import Detector, find_detector
    from gendef.evaluation.features import default_cache
    from gendef.evaluation.fvd import compare
    from gendef.runtime.devices import choose_device

    if arguments.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, got {arguments.batch_size}")
    fake, real, seeds, counts = _open(arguments)
    device = choose_device(arguments.device)
    detector = Detector(find_detector(arguments.detector), arguments.detector_weights, device)
    _announce(fake, real, counts, arguments.sampling())
    total = sum(map(sum, counts))
    estimate = _TimeEstimate(total)

    def advance(count: int) -> None:
        estimate.advance(count)
        progress.advance(task, count)

    with progress_bar() as progress:
        task = progress.add_task("clips", total=total)
        report = compare(
            fake,
            real,
            detector,
            arguments.sampling(),
            seeds,
            batch_size=arguments.batch_size,
            cache=None if arguments.no_cache else arguments.cache or default_cache(),
            on_clip=advance,
        )
    _say(report.to_dict(), arguments.json, arguments.out)
    return 0


def _motion(arguments: Comparison) -> int:
    from gendef.evaluation.motion_distance import compare_motion

    fake, real, seeds, counts = _open(arguments)
    _announce(fake, real, counts, arguments.sampling())
    total = sum(map(sum, counts))
    estimate = _TimeEstimate(total)

    def advance(count: int) -> None:
        estimate.advance(count)
        progress.advance(task, count)

    with progress_bar() as progress:
        task = progress.add_task("clips", total=total)
        report = compare_motion(fake, real, arguments.sampling(), seeds, on_clip=advance)
    _say(report.to_dict(), arguments.json, arguments.out)
    return 0


def _protocol(arguments: Protocol) -> int:
    from gendef.experiments.protocol import protocol

    print(protocol(arguments.preset))
    return 0


def _single(measure: str) -> Callable[[Any], int]:
    """A measure of one video, a function of `gendef.cli.eval_single`, as a command."""

    def run(arguments: Any) -> int:
        from gendef.cli import eval_single
        from gendef.evaluation.report import to_json, versions

        report = {**getattr(eval_single, measure)(arguments), "versions": versions()}
        if arguments.json:
            print(to_json(report))
            return 0
        from rich.console import Console
        from rich.table import Table

        table = Table("measure", "value")
        for name, value in report.items():
            if isinstance(value, dict):
                value = ", ".join(f"{key}: {_short(entry)}" for key, entry in value.items())
            table.add_row(name.replace("_", " "), _short(value))
        Console().print(table)
        return 0

    return run


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _say(report: dict[str, Any], as_json: bool, out: Path | None) -> None:
    """Print a report of distances, and write it to --out."""
    from gendef.evaluation.report import to_json

    text = to_json(report)
    if out is not None:
        from gendef.runtime.atomic_file import replacing

        with replacing(out) as temporary:
            temporary.write_text(text + "\n")
    for warning in report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print(text)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("measure", "mean", "spread over seeds", "values")
    for name, result in report["results"].items():
        spread, errors = result["spread_over_seeds"], result.get("spread_over_subsets")
        values = [f"{value:.4g}" for value in result["values"]]
        if errors:
            values = [f"{value} ± {error:.2g}" for value, error in zip(values, errors, strict=True)]
        table.add_row(
            name, f"{result['mean']:.5g}", "one seed" if spread is None else f"{spread:.3g}", ", ".join(values)
        )
    console = Console()
    console.print(table)
    facts = Table("", "generated", "real", title="compared")
    for row in report["fake"]:
        if row != "notes":
            facts.add_row(row.replace("_", " "), *(_short(report[side][row])[:40] for side in ("fake", "real")))
    console.print(facts)
    for name in ("units", "sampling", "detector", "versions"):
        if name in report:
            text = ", ".join(f"{key} {value}" for key, value in report[name].items())
            console.print(f"{name}: {text}", highlight=False)


_COMMANDS: dict[str, tuple[type, Callable[[Any], int], str]] = {
    "fvd": (Distance, _distance, FVD),
    "fid": (Frames, _distance, FID),
    "motion": (Comparison, _motion, MOTION),
    "temporal": (single.Temporal, _single("temporal"), single.TEMPORAL),
    "reconstruction": (
        single.Reconstruction,
        _single("reconstruction"),
        single.RECONSTRUCTION,
    ),
    "tracking": (single.Tracking, _single("tracking"), single.TRACKING),
    "protocol": (Protocol, _protocol, PROTOCOL),
    "segmentation": (single.Segmentation, _single("segmentation"), single.SEGMENTATION),
}
