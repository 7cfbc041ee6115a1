"""`gendef flow`: optical flow of a clip."""

import json

from gendef.cli.flow_arguments import Arguments, parse
from gendef.cli.progress import progress_bar
from gendef.video.layered_video import load_clip
from gendef.visualization.flow import (
    DRAWING,
    write_flow,
)


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    clip = load_clip(arguments.clip)
    with progress_bar() as progress:
        task = progress.add_task("flow", total=clip.num_frames - 1)
        summary = write_flow(clip, arguments.out, arguments.kind, arguments.format, lambda: progress.advance(task))
    drawing = arguments.out / DRAWING
    if arguments.json:
        report = {"kind": arguments.kind, "pairs": clip.num_frames - 1, "drawing": str(drawing), **summary}
        print(json.dumps(report))
    else:
        print(
            f"{clip.num_frames - 1} flows in {arguments.out}: on average {summary['mean_speed']:.3g} pixels a frame, "
            f"known for {100 * summary['known']:.1f} % of the pixels; look at {drawing}"
        )
    return 0
