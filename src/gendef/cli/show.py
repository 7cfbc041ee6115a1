"""`gendef show`: the figure of a clip."""

import json

import numpy as np

from gendef.cli.progress import progress_bar
from gendef.cli.show_arguments import Arguments, parse
from gendef.errors import InputError
from gendef.media.animated_pictures import write_gif
from gendef.media.images import write_image
from gendef.media.video_writer import write_video
from gendef.video.base import Video
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import load_clip
from gendef.visualization.figure import figure, figure_frames

PICTURES, VIDEOS = (".png", ".jpg", ".jpeg"), (".mp4", ".gif")


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    suffix = arguments.out.suffix.lower()
    if suffix not in PICTURES + VIDEOS:
        raise InputError(f"--out must end in {', '.join(PICTURES + VIDEOS)}, got {arguments.out}")
    clip = load_clip(arguments.clip)
    if suffix in PICTURES:
        side = arguments.side or 176
        write_image(arguments.out, figure(clip, arguments.frames, side))
    else:
        _write_moving(clip, arguments)
    if arguments.json:
        print(json.dumps({"figure": str(arguments.out), **_facts(clip)}))
    else:
        print(f"{clip}: look at {arguments.out}")
    return 0


def _write_moving(clip: Video, arguments: Arguments) -> None:
    write = write_gif if arguments.out.suffix.lower() == ".gif" else write_video
    with progress_bar() as progress:
        frames = figure_frames(clip, arguments.side or 256)
        write(arguments.out, progress.track(frames, clip.num_frames, description="drawing"), clip.fps)


def _facts(clip: Video) -> dict[str, object]:
    """What --json prints: facts of the clip, and of its image or of each of its layers."""
    facts: dict[str, object] = {"frames": clip.num_frames, "size": clip.size, "fps": clip.fps}
    if len(clip.layers) == 1:
        facts |= _facts_of_image(clip.layers[0].video)
    else:
        facts["layers"] = [
            {"name": layer.name, "start": layer.start, "frames": layer.end - layer.start}
            | _facts_of_image(layer.video)
            | {"made": layer.video.info, "report": layer.video.report}
            for layer in clip.layers
        ]
    return {**facts, "made": clip.info, "report": clip.report}


def _facts_of_image(video: CanonicalVideo) -> dict[str, object]:
    offsets = video.deformation[:: max(video.num_frames // 16, 1)].norm(dim=-1) * min(video.size) / 2
    return {
        "canonical_size": video.canonical_size,
        "mean_offset_pixels": round(float(np.mean(offsets.numpy())), 3),
    }
