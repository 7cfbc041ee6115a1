"""`gendef motions`: the same content with other motions."""

import json
from collections.abc import Callable
from functools import partial

from gendef.animation.other_motions import animate_again, is_animated
from gendef.cli.motions_arguments import Arguments, parse
from gendef.cli.progress import progress_bar
from gendef.cli.values import parse_seeds
from gendef.editing.motion_transfer import model_of, with_motion_of
from gendef.errors import InputError
from gendef.media.images import write_image
from gendef.media.video_writer import write_video
from gendef.runtime.atomic_folder import staged
from gendef.video.base import Video
from gendef.video.layered_video import load_clip
from gendef.visualization.comparison import comparison_frames, comparison_sheet

SHEET_ROWS = 12


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    video = load_clip(arguments.clip)
    if arguments.motion_of is not None and arguments.model is not None:
        raise InputError("--motion-of takes the motion of a clip, --model that of a model: give one of them")
    sources = _sources(video, arguments)
    names, clips = [name for name, _ in sources], []
    with staged(arguments.out) as folder, progress_bar() as progress:
        for name, make in progress.track(sources, description="moving"):
            clips.append(make())
            clips[-1].save(folder / name)
            clips[-1].to_mp4(folder / f"{name}.mp4")
        shown = [video, *clips] if video.num_frames == clips[0].num_frames else clips
        labels = [*(["the clip"] if shown[0] is video else []), *(name.replace("_", " ") for name in names)]
        write_video(folder / "motions.mp4", comparison_frames(shown), clips[0].fps)
        write_image(folder / "sheet.png", comparison_sheet(shown[:SHEET_ROWS], labels[:SHEET_ROWS]))
    if arguments.json:
        written = [{"clip": str(arguments.out / name), "mp4": str(arguments.out / f"{name}.mp4")} for name in names]
        print(json.dumps({"clips": written, "table": str(arguments.out / "motions.mp4")}))
    else:
        table, sheet = arguments.out / "motions.mp4", arguments.out / "sheet.png"
        print(f"{len(clips)} clips in {arguments.out}; look at {table} and {sheet}")
    return 0


def _sources(video: Video, arguments: Arguments) -> list[tuple[str, Callable[[], Video]]]:
    """A name for every clip to make, and the function that makes it."""
    if arguments.motion_of is not None:
        moved = with_motion_of(video, load_clip(arguments.motion_of))
        return [(f"motion_of_{arguments.motion_of.resolve().name}", lambda: moved)]
    seeds = parse_seeds(arguments.seeds)
    if is_animated(video):
        return [(f"motion{seed:04d}", partial(animate_again, video, seed, arguments.model)) for seed in seeds]
    model = model_of(video, arguments.model)
    content = video.layers[0].video
    model.sample_motions(content, [])  # raises InputError for a clip of another model before anything is written

    def of_seed(seed: int) -> Video:
        return model.sample_motions(content, [seed])[0]

    return [(f"motion{seed:04d}", partial(of_seed, seed)) for seed in seeds]
