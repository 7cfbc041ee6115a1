"""`gendef edit`: edit one image and the video follows."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from torch import Tensor

from gendef.cli.edit_arguments import Arguments, parse
from gendef.cli.edit_output import EditedVideo, at_detail_of, find_source
from gendef.cli.layers import chosen_layer
from gendef.cli.progress import progress_bar
from gendef.editing import edit
from gendef.editing.layers import carry_edit, draw_on_frame
from gendef.editing.prompt import load_pipeline, repaint
from gendef.editing.style_transfer import apply_style, load_style
from gendef.errors import InputError
from gendef.media.images import read_image, write_image
from gendef.media.video_writer import write_video
from gendef.runtime.atomic_folder import staged
from gendef.runtime.devices import choose_device
from gendef.video.base import Video
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import load_clip
from gendef.visualization.comparison import comparison_frames, comparison_sheet, extent_of_change
from gendef.visualization.figure import scaled_size

EDITS = ("canonical", "style", "prompt", "filter", "overlay", "overlay_frame")
"""Options that change something."""
NOTHING = "no edit was asked for: give --canonical, --style, --prompt, --filter, --overlay or --overlay-frame"


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    before = load_clip(arguments.clip)
    source = find_source(before, arguments)
    size = scaled_size(before.size if source is None else source.size, arguments.size)
    if source is not None and any(getattr(arguments, name) is not None for name in ("overlay", "overlay_frame")):
        before = at_detail_of(before, source)
    after = edited(before, arguments)
    video = EditedVideo(before, after, arguments, source, size)
    with staged(arguments.out) as folder, progress_bar() as progress:
        task = progress.add_task("writing", total=2 * after.num_frames)

        def counted(pictures: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
            for frame in pictures:
                progress.advance(task)
                yield frame

        after.save(folder / "clip")
        video.write(folder, counted(video.frames()))
        write_video(
            folder / "before_after.mp4",
            counted(comparison_frames([before, after])),
            after.fps,
            times=after.frame_times,
        )
        write_image(folder / "sheet.png", comparison_sheet([before, after], ["before", "after"]))
    share, change = extent_of_change(before, after)
    written = {
        "clip": str(arguments.out / "clip"),
        "video": str(arguments.out / video.file_name),
        "over": None if video.source is None else str(video.source.source.path),
        "size": [video.size[1], video.size[0]],
    }
    if arguments.json:
        print(json.dumps({**written, "changed_share": share, "mean_change": change, "edits": after.info["edits"]}))
    else:
        over = "the clip's rendering" if video.source is None else f"over {video.source.source.path.name}"
        print(
            f"{100 * share:.1f} % of the pixels of {after.num_frames} frames changed; {written['video']} is {over}, "
            f"the clip in {written['clip']}; look at {arguments.out / 'before_after.mp4'} and "
            f"{arguments.out / 'sheet.png'}"
        )
    return 0


def edited(video: Video, arguments: Arguments) -> Video:
    """All requested edits, on the layer of --layer; a drawing on a frame without --layer applies to all layers.

    Filters, styles and prompts are given to every segment of the layer, if no mask bounds them; everything else is
    carried from one segment to the next.

    Raises:
        InputError: they ask for none, or one cannot be made.
    """
    if len(video.layers) == 1:
        chosen_layer(video, arguments.layer, None)
        changed, done = edited_image(video.layers[0].video, arguments)
        result = video.with_layer(0, changed)
        result.info["edits"] = [*video.info.get("edits", []), *done]
        return result
    layer, drawn = chosen_layer(video, arguments.layer, None), None
    if arguments.overlay_frame is not None and arguments.layer is None:
        if arguments.mask is not None:
            raise InputError("--mask lies over the canonical image of one layer: name it with --layer")
        drawn, arguments = arguments.overlay_frame, replace(arguments, overlay_frame=None)
    result, done = video, []
    drawings = replace(arguments, style=None, prompt=None, filter=None)
    before = replace(drawings, overlay=None, overlay_frame=None)
    filters = replace(arguments, canonical=None, overlay=None, overlay_frame=None)
    steps = [arguments] if arguments.mask else [before, filters, replace(drawings, canonical=None)]
    for step in steps:
        if not any(getattr(step, name) is not None for name in EDITS):
            continue
        parts = video.parts(video.layers[layer].name) if step is filters else [layer]
        for part in parts:
            changed, texts = edited_image(result.layers[part].video, _within(step, result.layers[part].start))
            result = result.with_layer(part, changed) if step is filters else carry_edit(result, part, changed)
            done += [f"layer {part}: {text}" for text in texts]
    if drawn is not None:
        result = draw_on_frame(result, read_image(drawn[1]), drawn[0])
        done.append(f"overlay {drawn[1].name} on frame {drawn[0]}")
    if not done:
        raise InputError(NOTHING)
    result.info["edits"] = [*video.info.get("edits", []), *done]
    return result


def _within(arguments: Arguments, start: int) -> Arguments:
    """The options with the number of a frame counted from where a layer starts."""
    if arguments.overlay_frame is None:
        return arguments
    number, path = arguments.overlay_frame
    return replace(arguments, overlay_frame=(number - start, path))


def edited_image(video: CanonicalVideo, arguments: Arguments) -> tuple[CanonicalVideo, list[str]]:
    """All requested edits on one canonical image, and a description of each.

    Raises:
        InputError: they ask for none, or one cannot be made.
    """
    result, done = video, []
    if arguments.canonical is not None:
        result = edit.edit_canonical(result, read_image(arguments.canonical))
        done.append(f"canonical {arguments.canonical.name}")
    if arguments.style is not None:
        network = load_style(arguments.style)
        result = result.with_canonical(apply_style(result.canonical, network, arguments.side))
        done.append(f"style {arguments.style.name}")
    if arguments.prompt is not None:
        result = result.with_canonical(_repainted(result, arguments))
        done.append(f"prompt {arguments.prompt!r}, seed {arguments.seed}")
    if arguments.filter is not None:
        result = edit.apply_filter(result, arguments.filter)
        done.append(f"filter {arguments.filter}")
    if arguments.overlay is not None:
        result = edit.overlay(result, read_image(arguments.overlay))
        done.append(f"overlay {arguments.overlay.name}")
    if arguments.overlay_frame is not None:
        number, path = arguments.overlay_frame
        result = edit.overlay_frame(result, read_image(path), number)
        done.append(f"overlay {path.name} on frame {number}")
    if not done:
        raise InputError(NOTHING)
    if arguments.mask is not None:
        result = edit.masked(video, result, read_image(arguments.mask))
        done.append(f"inside {arguments.mask.name}")
    return result, done


def _repainted(video: CanonicalVideo, arguments: Arguments) -> Tensor:
    pipeline = load_pipeline(arguments.diffusion_model, arguments.controlnet, str(choose_device(arguments.device)))
    return repaint(
        video.canonical,
        str(arguments.prompt),
        pipeline,
        strength=arguments.strength,
        steps=arguments.steps,
        seed=arguments.seed,
        side=arguments.side or 512,
    )
