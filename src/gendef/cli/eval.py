"""`gendef eval`: measure videos."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from gendef.cli import eval_single
from gendef.cli.progress import progress_bar
from gendef.cli.values import parse_seeds
from gendef.errors import InputError
from gendef.evaluation.report import to_json, versions

if TYPE_CHECKING:
    from gendef.evaluation.clip_sets import ClipSet
    from gendef.evaluation.sampling import Sampling

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

FVD = """FVD and, beside it, the unbiased kernel distance KVD, by the protocol of StyleGAN-V: one clip a video.

example: gendef eval fvd sky sky_test64.zip --count 256 --seeds 0-2

example: gendef eval fvd my_videos/ real.zip --frames 16 --stride 8 --detector-weights i3d-kinetics-400.ckpt"""

FID = """Frechet and kernel distance of single frames, on EfficientNet-Lite0 features unless --detector names another.
It is no FID: that needs the Inception network, which can be plugged in (docs/metrics.md).

example: gendef eval fid sky sky_test64.zip --count 512"""

MOTION = """How far the motion of two sets of videos is apart: Wasserstein distances of the speed, direction and
acceleration of their optical flow (OpenCV's DIS), in percent of the frame's side a frame and in degrees; and of each
side how far its content gets over a clip, and how straight. No network, no weights.

example: gendef eval motion sky sky_test64.zip --count 64 --clips-per-video 16"""

PROTOCOL = """Print the commands that would reproduce a row of the paper's Table 1 from the original data on a machine
with 8 GPUs, and the paper's numbers.

example: gendef eval protocol sky256"""

Flag = tyro.conf.FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class _Protocol:
    """Options of `protocol`."""

    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
    """sky256, taichi256 or ytb256."""


@dataclass(frozen=True)
class _Comparison:
    """Two sides, and the clips that are drawn from them."""

    fake: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAKE")]
    """Data archive, folder of videos, saved clips, video file, or model."""
    real: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REAL")]
    """The same."""
    frames: int = 16
    """Frames a clip."""
    stride: int = 1
    """Take every stride-th frame."""
    clips_per_video: int = 1
    """Clips from each video; 0 takes all that fit side by side."""
    count: int = 2048
    """At most so many clips of each side; a model makes exactly so many."""
    seeds: str = "0"
    """Measure with each of these seeds, such as 0-4, which draw other clips, and report mean and spread."""
    size: int | None = None
    """Bring the frames of both sides to squares of this side first."""
    fit: Literal["crop", "stretch"] = "crop"
    """What to do with frames that are not square."""
    truncation: float = 1.0
    """Truncation of a model's videos."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    out: Path | None = None
    """Also write the report, as JSON, to this file."""
    json: Flag = False
    """Print the report as JSON."""

    def sampling(self) -> "Sampling":
        """The clips to draw."""
        from gendef.evaluation.sampling import Sampling

        return Sampling(
            frames=self.frames,
            stride=self.stride,
            clips_per_video=self.clips_per_video,
            count=self.count,
            size=self.size,
            fit=self.fit,
            truncation=self.truncation,
        )


@dataclass(frozen=True)
class _Distance(_Comparison):
    """And the network whose features are compared."""

    detector: str = "i3d"
    """Feature network: a registered name, or module:name of your own."""
    detector_weights: Path | None = None
    """File of its weights, or the folder to look in; default the folder GENDEF_WEIGHTS."""
    batch_size: int = 4
    """Clips in a batch of the detector."""
    cache: Path | None = None
    """Folder of computed features; default ~/.cache/gendef/features."""
    no_cache: Flag = False
    """Neither read nor write computed features."""


@dataclass(frozen=True)
class _Frames(_Distance):
    """The same for single frames, of which a video gives many."""

    frames: int = 1
    """Frames a clip."""
    clips_per_video: int = 0
    """Clips from each video; 0 takes all that fit side by side."""
    detector: str = "efficientnet-lite0"
    """Feature network: a registered name, or module:name of your own."""
    batch_size: int = 16
    """Clips in a batch of the detector."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    if argv and argv[0] in _COMMANDS:
        arguments, run, text = _COMMANDS[argv[0]]
        return run(tyro.cli(arguments, args=argv[1:], prog=f"gendef eval {argv[0]}", description=text))
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    wrong = f"gendef eval: unknown measure {argv[0]!r}\n" if argv else ""
    print(wrong + USAGE, file=sys.stderr)
    return 2


def _open(arguments: _Comparison) -> tuple["ClipSet", "ClipSet", list[int], int]:
    """Both sides, the seeds, and the number of clips of all of them together."""
    from gendef.evaluation.clip_sets import open_clips
    from gendef.runtime.devices import choose_device

    seeds, sampling = parse_seeds(arguments.seeds), arguments.sampling()
    fake, real = (open_clips(name, choose_device(arguments.device)) for name in (arguments.fake, arguments.real))
    draws = [replace(sampling, seed=seed) for seed in seeds]
    return fake, real, seeds, sum(len(side.windows(draw)) for draw in draws for side in (fake, real))


def _distance(arguments: _Distance) -> int:
    from gendef.evaluation.detectors import Detector, find_detector
    from gendef.evaluation.features import default_cache
    from gendef.evaluation.fvd import compare
    from gendef.runtime.devices import choose_device

    if arguments.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, got {arguments.batch_size}")
    fake, real, seeds, total = _open(arguments)
    device = choose_device(arguments.device)
    detector = Detector(find_detector(arguments.detector), arguments.detector_weights, device)
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
            on_clip=lambda count: progress.advance(task, count),
        )
    _say(report.to_dict(), arguments.json, arguments.out)
    return 0


def _motion(arguments: _Comparison) -> int:
    from gendef.evaluation.motion_distance import compare_motion

    fake, real, seeds, total = _open(arguments)
    with progress_bar() as progress:
        task = progress.add_task("clips", total=total)
        report = compare_motion(
            fake, real, arguments.sampling(), seeds, on_clip=lambda count: progress.advance(task, count)
        )
    _say(report.to_dict(), arguments.json, arguments.out)
    return 0


def _protocol(arguments: _Protocol) -> int:
    from gendef.experiments.protocol import protocol

    print(protocol(arguments.preset))
    return 0


def _single(measure: Callable[[Any], dict[str, Any]]) -> Callable[[Any], int]:
    """A measure of one video as a command."""

    def run(arguments: Any) -> int:
        report = {**measure(arguments), "versions": versions()}
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
    """Print a report of distances, and write it where asked."""
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
    "fvd": (_Distance, _distance, FVD),
    "fid": (_Frames, _distance, FID),
    "motion": (_Comparison, _motion, MOTION),
    "temporal": (eval_single.Temporal, _single(eval_single.temporal), eval_single.TEMPORAL),
    "reconstruction": (
        eval_single.Reconstruction,
        _single(eval_single.reconstruction),
        eval_single.RECONSTRUCTION,
    ),
    "tracking": (eval_single.Tracking, _single(eval_single.tracking), eval_single.TRACKING),
    "protocol": (_Protocol, _protocol, PROTOCOL),
    "segmentation": (eval_single.Segmentation, _single(eval_single.segmentation), eval_single.SEGMENTATION),
}
