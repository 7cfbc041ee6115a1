"""`gendef segment`: propagate a mask through a clip, or through a video that has not been fitted."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from gendef.cli.layers import chosen_layer
from gendef.cli.points import parse_numbers, parse_points
from gendef.cli.progress import progress_bar
from gendef.cli.segment_arguments import Arguments, parse
from gendef.cli.videos import NOT_FOR_CLIPS, NOT_FOR_VIDEOS, is_clip, read_start, refuse
from gendef.correspondence.mask_propagation import propagate_mask
from gendef.correspondence.prompt_segmentation import mask_from_prompts
from gendef.errors import InputError
from gendef.media.images import read_image, to_uint8
from gendef.video.label_transfer import to_labels
from gendef.video.layered_video import load_clip
from gendef.visualization.segment_files import write_masks, write_masks_of_frames

SIZE = 480
"""Pixels of the shorter side of a video's masks."""


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    follow = _follow_in_clip if is_clip(arguments.clip) else _follow_in_video
    if arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"{arguments.out} is a file, not a folder")
    labels, masks, frame, notes = follow(arguments)
    values = [int(label) for label in labels.unique() if label]
    if arguments.json:
        areas = {str(label): (masks == label).sum(dim=(1, 2)).tolist() for label in values}
        print(json.dumps({"frame": frame, "areas": areas, "out": str(arguments.out), "notes": notes}))
    else:
        for note in notes:
            print(f"note: {note}")
        share = 100 * (masks != 0).float().mean().item()
        print(
            f"{len(values)} label{'' if len(values) == 1 else 's'} in {len(masks)} frames, on average "
            f"{share:.1f} % of the picture; look at {arguments.out / 'overlay.mp4'}"
        )
    return 0


Followed = tuple[Tensor, Tensor, int | None, list[str]]
"""The mask as given and in all frames, (T, H, W); the number of the frame on which it lies; notes."""


def _follow_in_clip(arguments: Arguments) -> Followed:
    """Propagate the mask through a clip and write the results."""
    refuse(arguments, ("start", "frames", "size"), NOT_FOR_CLIPS)
    clip = load_clip(arguments.clip)
    layer = chosen_layer(clip, arguments.layer, arguments.frame)

    def picture() -> np.ndarray:
        if arguments.frame is None:
            return to_uint8(clip.canonical_images[layer][1])
        return to_uint8(clip.render(frames=[clip.checked_frame(arguments.frame)])[0])

    labels = to_labels(_mask(arguments, picture))
    masks = clip.segment(labels, arguments.frame, layer)
    canonical = clip.canonical_labels(labels, arguments.frame, layer)
    with progress_bar() as progress:
        task = progress.add_task("drawing", total=clip.num_frames)
        write_masks(clip, masks, canonical, arguments.out, lambda: progress.advance(task))
    return labels, masks, arguments.frame, []


def _follow_in_video(arguments: Arguments) -> Followed:
    """The same for a video, within the scene that holds the frame with the mask."""
    refuse(arguments, ("layer",), NOT_FOR_VIDEOS)
    size = SIZE if arguments.size is None else arguments.size
    begin = read_start(arguments.clip, size, arguments.start, arguments.frames, arguments.frame, "the object is")
    footage, scene, place, numbers = begin.footage, begin.scene, begin.place, begin.numbers
    labels = to_labels(_mask(arguments, lambda: scene.frames[place], footage.source_size))
    frames, notes = begin.frames, list(begin.notes)
    with progress_bar() as progress:
        task = progress.add_task("following", total=len(scene.frames) - 1)
        masks = propagate_mask(scene.frames, labels, place, on_frame=lambda: progress.advance(task))
        seen_in = {int(label): int((masks == label).flatten(1).any(dim=1).sum()) for label in labels.unique() if label}
        if len(footage.scenes) > 1:
            before = numbers.index(scene.numbers[0])
            masks = F.pad(masks, (0, 0, 0, 0, before, len(frames) - before - len(masks)))
        task = progress.add_task("drawing", total=len(frames))
        write_masks_of_frames(frames, footage.fps, masks, arguments.out, numbers, lambda: progress.advance(task))
    if place in scene.blank:
        notes.append(f"frame {begin.number} is black: a mask on it cannot be followed")
    total = len(scene.frames)
    notes.extend(
        f"label {label} is lost in {total - seen} of {total} frames" for label, seen in seen_in.items() if seen < total
    )
    return labels, masks, begin.number, notes


def _mask(arguments: Arguments, picture: Callable[[], np.ndarray], marked_size: tuple[int, int] | None = None) -> Any:
    """The mask as given, or made from clicks and box on a picture, uint8 (H, W, 3).

    Clicks and box are in pixels of a picture of `marked_size` (height, width); default the picture's own.
    """
    marked = bool(arguments.click or arguments.not_click or arguments.box)
    if arguments.mask is not None:
        if marked:
            raise InputError("give either --mask, or --click and --box, not both")
        return read_image(arguments.mask)
    seen = picture()
    tall, wide = marked_size or seen.shape[:2]
    across, down = seen.shape[1] / wide, seen.shape[0] / tall

    def scaled(points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        return [((x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5) for x, y in points]

    box = None
    if arguments.box is not None:
        x0, y0, x1, y1 = parse_numbers(arguments.box, 4, "a box as x0,y0,x1,y1")
        box = [value for corner in scaled([(x0, y0), (x1, y1)]) for value in corner]
    clicks, not_clicks = (
        scaled(parse_points([*itertools.chain.from_iterable(texts)]))
        for texts in (arguments.click, arguments.not_click)
    )
    return mask_from_prompts(seen, clicks, box, not_clicks, arguments.method)
