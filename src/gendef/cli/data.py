"""`gendef data prepare`, `gendef data info` and `gendef data motions`."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gendef.cli.common import COMMON, CommonOptions, set_up_logging
from gendef.data.extract import PrepareConfig

if TYPE_CHECKING:
    from gendef.data.prepare import Progress

USAGE = """usage: gendef data prepare SOURCE... --out ARCHIVE [options]   make a data archive from videos
       gendef data info ARCHIVE [options]                     counts, lengths, sizes, a contact sheet
       gendef data motions SOURCE... --out MOTIONS [options]  motion data from videos, for motion priors

example: gendef data prepare my_videos/ --out sky64.zip --resolution 64
`gendef data prepare --help`, `gendef data info --help` and `gendef data motions --help` explain each."""

PREPARE = """Make a data archive for training from any mix of video files (mp4, mov, avi, webm, mkv, gif), folders of
frames, folders of such folders, and zips with a folder of frames a clip.

example: gendef data prepare my_videos/ --out sky64.zip --resolution 64

example: gendef data prepare drive.mp4 frames/ --out d128.zip --resolution 128 --crops 3 --clip-frames 256"""

INFO = """Show what is in a data archive.

example: gendef data info sky64.zip --sheet sky64.png

example: gendef data info sky64.zip --check"""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    commands = {"prepare": _prepare, "info": _info, "motions": _motions}
    if argv and argv[0] in commands:
        return commands[argv[0]](argv[1:])
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    wrong = f"gendef data: unknown command {argv[0]!r}\n" if argv else ""
    print(wrong + USAGE, file=sys.stderr)
    return 2


def _motions(argv: list[str]) -> int | None:
    from gendef.cli.data_motions import main as motions

    return motions(argv)


def _prepare(argv: list[str]) -> int | None:
    import tyro

    @dataclass(frozen=True)
    class PrepareArguments:
        source: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE...")]
        """Video files, folders of frames, folders of those, zips of clips."""
        out: Path
        """The archive to write, a zip file."""
        config: Annotated[PrepareConfig, tyro.conf.arg(name="")]
        only: tuple[str, ...] = ()
        """Use only sources whose name matches one of these shell patterns, such as 's0*'."""
        exclude: tuple[str, ...] = ()
        """Leave out sources whose name matches one of these shell patterns."""
        workers: int | None = None
        """Processes; default one per CPU. The result does not depend on it."""
        json: tyro.conf.FlagCreatePairsOff[bool] = False
        """Print the result as JSON."""
        common: CommonOptions = COMMON

    arguments = tyro.cli(PrepareArguments, args=argv, prog="gendef data prepare", description=PREPARE)
    set_up_logging(arguments.common)
    from gendef.data.prepare import prepare

    with _bar() as show:
        report = prepare(
            arguments.source,
            arguments.out,
            arguments.config,
            workers=arguments.workers,
            only=arguments.only,
            exclude=arguments.exclude,
            progress=show,
        )
    for entry in report.skipped:
        print(f"skipped: {entry['source']}: {entry['reason']}", file=sys.stderr)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        counts = report.metadata["counts"]
        print(
            f"{report.out}: {counts['clips']} clips, {counts['frames']} frames of"
            f" {report.metadata['resolution']}x{report.metadata['resolution']}, {_size(report.bytes)}, from"
            f" {counts['sources'] - counts['unreadable']} of {counts['sources']} sources"
            f" ({counts['scene_cuts']} scene changes), in {report.seconds:.1f} s"
        )
    return 0


def _info(argv: list[str]) -> int | None:
    import tyro

    @dataclass(frozen=True)
    class InfoArguments:
        archive: tyro.conf.Positional[Path]
        """The data archive."""
        sheet: Path | None = None
        """Write a contact sheet to this image file, one row per clip."""
        rows: int = 12
        """Clips on the sheet, evenly spaced over the archive."""
        columns: int = 10
        """Frames of each clip on the sheet."""
        check: tyro.conf.FlagCreatePairsOff[bool] = False
        """Decode every frame and list the damaged ones; the exit status is 1 if there are any."""
        json: tyro.conf.FlagCreatePairsOff[bool] = False
        """Print the result as JSON."""
        common: CommonOptions = COMMON

    arguments = tyro.cli(InfoArguments, args=argv, prog="gendef data info", description=INFO)
    set_up_logging(arguments.common)
    from gendef.cli.progress import progress_bar
    from gendef.data.archive import VideoArchive
    from gendef.data.info import describe, sheet_rows

    archive = VideoArchive(arguments.archive, cache_bytes=0)
    if arguments.check:
        with progress_bar() as progress:
            task = progress.add_task("checking frames", total=archive.num_frames)
            archive.check(lambda: progress.advance(task))
    facts = describe(archive)
    if arguments.sheet is not None:
        from gendef.media.images import write_image
        from gendef.visualization.drawing import contact_sheet

        write_image(arguments.sheet, contact_sheet(sheet_rows(archive, arguments.rows, arguments.columns)))
        facts["sheet"] = str(arguments.sheet)
    print(json.dumps(facts, indent=1) if arguments.json else _table(facts))
    return 1 if arguments.check and archive.damaged else 0


def _table(facts: dict[str, Any]) -> str:
    lengths, side = facts["frames_per_clip"], facts["resolution"]
    rows = [
        ("archive", f"{facts['path']}, {_size(facts['bytes'])}, {facts['bytes_per_frame']} bytes a frame"),
        ("frames", f"{facts['frames']} of {side}x{side}, {_size(facts['decoded_bytes'])} decoded"),
        ("clips", f"{facts['clips']} from {facts['sources']} sources"),
        ("lengths", f"{lengths['min']} to {lengths['max']} frames, median {lengths['median']:g}"),
        ("short", f"{facts['clips_shorter_than_32']} clips under 32 frames, {facts['clips_shorter_than_3']} under 3"),
        ("fps", ", ".join(f"{fps:g}" for fps in facts["fps"])),
    ]
    if facts["clips_per_class"]:
        classes = (f"{name} {count}" for name, count in facts["clips_per_class"].items())
        rows.append(("classes", ", ".join(classes)))
    rows += [("skipped", f"{entry['source']}: {entry['reason']}") for entry in facts["skipped"]]
    rows += [("damaged", f"{name}: {reason}") for name, reason in facts["damaged"].items()]
    rows += [("warning", text) for text in facts["warnings"]]
    if "sheet" in facts:
        rows.append(("sheet", facts["sheet"]))
    return "\n".join(f"{key:<9}{value}" for key, value in rows)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


@contextmanager
def _bar() -> "Iterator[Callable[[Progress], None]]":
    """A progress bar on stderr, as a function that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("preparing"),
        BarColumn(),
        TextColumn("{task.fields[sources]} sources, {task.completed:.0f} frames"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, sources="0")

        def show(progress: "Progress") -> None:
            bar.update(
                task,
                total=progress.frames_total or None,
                completed=progress.frames_done,
                sources=f"{progress.sources_done}/{progress.sources_total}",
            )

        yield show
