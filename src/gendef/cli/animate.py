"""`gendef animate`: a photograph that moves."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gendef.animation.animate import animate
from gendef.animation.matte import touches_border
from gendef.cli.animate_arguments import Arguments, parse
from gendef.cli.points import parse_numbers, parse_points
from gendef.cli.progress import progress_bar
from gendef.correspondence.prompt_segmentation import mask_from_prompts
from gendef.errors import InputError
from gendef.media.images import read_image, to_image_tensor, to_uint8
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.clip_format import PREVIEW, check_replaceable
from gendef.video.layered_video import LayeredVideo

ENLARGED_BELOW = 256
"""The clip's preview enlarges frames with a shorter side below this; the mp4 does not."""


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    check_replaceable(arguments.out)
    arrows = [_parse_arrow(text) for text in arguments.arrow]
    with progress_bar() as progress:
        task = progress.add_task("moving", total=arguments.frames)
        mask, in_front = _marked(arguments)
        video = animate(
            arguments.photo,
            arguments.model,
            seed=arguments.seed,
            frames=arguments.frames,
            mask=mask,
            arrows=arrows,
            loop=arguments.loop,
            size=arguments.size,
            still=arguments.still,
            in_front=in_front,
            strength=arguments.strength,
            speed=arguments.speed,
            direction=arguments.direction,
            fps=arguments.fps,
            border=arguments.border,
            label=arguments.label,
        )
        progress.update(task, description="writing")
        written = _write(video, arguments.out, gif=arguments.gif, on_frames=lambda count: progress.advance(task, count))
    warnings = video.report["warnings"]
    if arguments.json:
        print(json.dumps({**written, "frames": video.num_frames, "size": list(video.size), "warnings": warnings}))
    else:
        for warning in warnings:
            print(f"note: {warning}")
        print(f"{arguments.out}: {video}; look at {written['mp4']}")
    return 0


def _parse_arrow(text: str) -> list[float]:
    """Two points such as "320,200:420,190"."""
    form = "an arrow as x0,y0:x1,y1 such as 320,200:420,190"
    start, colon, tip = text.partition(":")
    if not colon:
        raise InputError(f"expected {form}, got {text!r}")
    return [*parse_numbers(start, 2, form), *parse_numbers(tip, 2, form)]


def _marked(arguments: Arguments) -> tuple[Any, bool]:
    """The mask of what moves, None where the prior decides, and whether it is a layer before the rest."""
    marked = bool(arguments.click or arguments.not_click or arguments.box)
    if not marked:
        return arguments.mask, arguments.layer == "front"
    if arguments.mask is not None:
        raise InputError("give either --mask, or --click and --box, not both")
    box = None if arguments.box is None else parse_numbers(arguments.box, 4, "a box as x0,y0,x1,y1")
    picture = to_uint8(to_image_tensor(read_image(arguments.photo)))
    clicks, not_clicks = parse_points(arguments.click), parse_points(arguments.not_click)
    mask: np.ndarray = mask_from_prompts(picture, clicks, box, not_clicks, arguments.method)
    if arguments.layer == "auto":
        return mask, not touches_border(mask)
    return mask, arguments.layer == "front"


def _write(
    video: CanonicalVideo | LayeredVideo, out: Path, *, gif: bool, on_frames: Callable[[int], None]
) -> dict[str, str]:
    """The clip folder, the mp4 and the gif; returns their paths."""
    mp4 = out.with_name(f"{out.name}.mp4")
    if isinstance(video, LayeredVideo):
        video.save(out, layer_previews=False, on_frames=on_frames)
    else:
        video.save(out, on_frames=on_frames)
    if min(video.size) < ENLARGED_BELOW:
        video.to_mp4(mp4)
    else:
        shutil.copyfile(out / PREVIEW, mp4)
    written = {"clip": str(out), "mp4": str(mp4)}
    if gif:
        written["gif"] = str(out.with_name(f"{out.name}.gif"))
        video.to_gif(written["gif"])
    return written
