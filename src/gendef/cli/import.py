"""`gendef import`: a clip from the STMaps of another program."""

import json

from gendef.cli.import_arguments import Arguments, parse
from gendef.interchange.import_clip import import_stmaps


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    clip = import_stmaps(arguments.stmaps, arguments.canonical, arguments.fps)
    clip.save(arguments.out)
    if arguments.json:
        print(json.dumps({"clip": str(arguments.out), "frames": clip.num_frames}))
    else:
        print(f"{clip.num_frames} frames in {arguments.out}; look at {arguments.out / 'preview.mp4'}")
    return 0
