"""`gendef show`: the figure of a clip."""

import json

import numpy as np

from gendef.cli.progress import progress_bar
from gendef.cli.show_arguments import Arguments, parse
from gendef.errors import InputError
from gendef.media.images import write_image
from gendef.media.video_writer import (
    write_gif,
    write_video,
)
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import LayeredVideo, load_clip
from gendef.visualization.figure import figure, figure_frames, layers_figure, layers_figure_frames

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
        if isinstance(clip, LayeredVideo):
            write_image(arguments.out, layers_figure(clip, arguments.frames, side))
        else:
            write_image(arguments.out, figure(clip, arguments.frames, side))
    else:
        _write_moving(clip, arguments)
    if arguments.json:
        print(json.dumps({"figure": str(arguments.out), **_facts(clip)}))
    else:
        print(f"{clip}: look at {arguments.out}")
    return 0


def _write_moving(clip: CanonicalVideo | LayeredVideo, arguments: Arguments) -> None:
    write = write_gif if arguments.out.suffix.lower() == ".gif" else write_video
    with progress_bar() as progress:
        side = arguments.side or 256
        frames = layers_figure_frames(clip, side) if isinstance(clip, LayeredVideo) else figure_frames(clip, side)
        write(arguments.out, progress.track(frames, clip.num_frames, description="drawing"), clip.fps)


def _facts(clip: CanonicalVideo | LayeredVideo) -> dict[str, object]:
    if isinstance(clip, LayeredVideo):
        return {
            "frames": clip.num_frames,
            "size": clip.size,
            "fps": clip.fps,
            "layers": [{"name": layer.name, "start": layer.start, **_facts(layer.video)} for layer in clip.layers],
            "made": clip.info,
            "report": clip.report,
        }
    offsets = clip.deformation[:: max(clip.num_frames // 16, 1)].norm(dim=-1) * min(clip.size) / 2
    return {
        "frames": clip.num_frames,
        "size": clip.size,
        "canonical_size": tuple(clip.canonical.shape[1:]),
        "fps": clip.fps,
        "mean_offset_pixels": round(float(np.mean(offsets.numpy())), 3),
        "made": clip.info,
        "report": clip.report,
    }
