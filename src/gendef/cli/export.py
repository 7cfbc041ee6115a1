"""`gendef export`: a clip as one web page."""

import json
from dataclasses import asdict
from pathlib import Path

from gendef.cli.export_arguments import Arguments, parse
from gendef.cli.progress import progress_bar
from gendef.errors import InputError
from gendef.interchange.export_clip import Target, export_clip
from gendef.video.layered_video import load_clip
from gendef.visualization.figure import scaled_size
from gendef.visualization.html_export import write_html


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    if arguments.to is not None:
        return _export_maps(arguments, arguments.to)
    if arguments.html.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--html must end in .html, got {arguments.html}")
    if not arguments.max_megabytes > 0:
        raise InputError(f"--max-megabytes must be positive, got {arguments.max_megabytes}")
    clip = load_clip(arguments.clip)
    title = arguments.title or arguments.clip.resolve().name
    limit = round(arguments.max_megabytes * 1e6)
    with progress_bar() as progress:
        task = progress.add_task("exporting", total=clip.num_frames)
        report = write_html(
            arguments.html,
            clip,
            title=title,
            limit=limit,
            on_progress=lambda share: progress.update(task, completed=round(share * clip.num_frames)),
        )
    if arguments.json:
        print(json.dumps({"html": str(arguments.html), **asdict(report)}))
    else:
        print(
            f"{arguments.html}: {report.bytes / 1e6:.2f} MB, on average {report.grey_levels:.2f} grey levels from the "
            f"rendered video; open it in a browser"
        )
    return 0


def _export_maps(arguments: Arguments, target: Target) -> int:
    """Write the files for a compositing program."""
    clip = load_clip(arguments.clip)
    out = arguments.out or Path(target)
    size = None if arguments.size is None else scaled_size(clip.size, arguments.size)
    with progress_bar() as progress:
        task = progress.add_task("exporting", total=sum(layer.video.num_frames for layer in clip.layers))
        folders = export_clip(clip, out, target, size, lambda: progress.advance(task))
    if arguments.json:
        print(json.dumps({"folders": [str(folder) for folder in folders], "frames": clip.num_frames}))
    else:
        print(f"{out}: stmap.####.exr, stmap_inverse.####.exr and canonical.exr of {clip.num_frames} frames")
    return 0
