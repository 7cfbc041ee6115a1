"""`gendef segment`: a mask carried through a clip, or through a video that has not been fitted."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch.nn.functional as F
import tyro
from torch import Tensor

from gendef.cli.layers import chosen_layer
from gendef.cli.points import parse_numbers, parse_points
from gendef.cli.progress import progress_bar
from gendef.cli.videos import NOT_FOR_CLIPS, NOT_FOR_VIDEOS, is_clip, read_start, refuse
from gendef.correspondence.mask_propagation import propagate
from gendef.correspondence.prompt_segmentation import Method, mask_from_prompts
from gendef.errors import InputError
from gendef.media.images import read_image, to_uint8
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.label_transfer import canonical_labels, resized_labels, segment, to_labels
from gendef.video.layered_tracks import canonical_labels_of_layers
from gendef.video.layered_video import CompositeVideo, canonical_pictures, load_clip
from gendef.video.point_tracks import checked_frame
from gendef.visualization.segment_files import write_masks, write_masks_of_frames

SIZE = 480
"""Pixels of the shorter side of a video's masks."""
DESCRIPTION = (
    "Carry a mask or a label map through a clip; it lies on the canonical image, or on a frame with --frame. A video "
    "file or a folder of frames will do instead of a clip folder: then the mask of one frame is carried by features "
    "that look alike, and gendef fit --masks makes layers of the result.\n\n"
    "The mask is a picture (--mask: black and white, labels as grey levels or palette indices, or transparent around "
    "the object), or is made from clicks and a box; x,y are pixels, the top-left one is 0,0. Writes masks/00000.png, "
    "..., overlay.mp4, the sheet segments.png, and for a clip canonical_mask.png.\n\n"
    "example: gendef segment videos/seed0000 --mask mask.png --out segments\n\n"
    "example: gendef segment videos/seed0000 --click 40,18 --click 44,25 --not-click 10,50 --out segments\n\n"
    "example: gendef segment videos/seed0000 --box 20,4,60,40 --frame 12 --out segments\n\n"
    "example: gendef segment my.mp4 --box 120,40,200,180 --out segments && "
    "gendef fit my.mp4 --masks segments --out clip"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder; or a video file, an animated gif, a folder of frames."""
    mask: Path | None = None
    """Picture of the mask or of labels, of any size."""
    click: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A point x,y on the object, in pixels of the canonical image, or of the frame in its file; may be repeated."""
    not_click: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A point x,y beside the object; may be repeated."""
    box: str | None = None
    """A box x0,y0,x1,y1 around the object."""
    frame: int | None = None
    """Frame on which they lie; default the canonical image, or of a video the first frame that is read."""
    layer: int | None = None
    """Layer on whose canonical image they lie, in a clip of layers; default 0, the one at the back."""
    method: Method = "grabcut"
    """How clicks and a box make a mask: GrabCut (extra fit), random walks, or SAM 2 (its own package)."""
    start: int | None = None
    """First frame of a video; default 0."""
    frames: int | None = None
    """Number of frames of a video; default all."""
    size: int | None = None
    """Pixels of the shorter side of a video's masks; default 480, and smaller videos keep theirs."""
    out: Path = field(default=Path("segments"))
    """Folder for the results."""
    json: bool = False
    """Print the area of each label in each frame, in pixels, as JSON."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    arguments = tyro.cli(Arguments, args=argv, prog="gendef segment", description=DESCRIPTION)
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
    """Carry the mask through a clip and write what comes of it."""
    refuse(arguments, ("start", "frames", "size"), NOT_FOR_CLIPS)
    clip = load_clip(arguments.clip)
    layer = chosen_layer(clip, arguments.layer, arguments.frame)

    def picture() -> np.ndarray:
        if arguments.frame is None:
            return to_uint8(canonical_pictures(clip)[layer][1])
        return to_uint8(clip.render(frames=[checked_frame(clip, arguments.frame)])[0])

    labels = to_labels(_mask(arguments, picture))
    masks, canonical = _carried(clip, labels, arguments.frame, layer)
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
        masks = propagate(scene.frames, labels, place, on_frame=lambda: progress.advance(task))
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


def _carried(
    clip: CanonicalVideo | CompositeVideo, mask: Tensor, frame: int | None, layer: int
) -> tuple[Tensor, Tensor | list[Tensor]]:
    """The mask in all frames, and on the canonical image or on that of each layer."""
    if isinstance(clip, CompositeVideo):
        return clip.segment(mask, frame, layer), canonical_labels_of_layers(clip, mask, frame, layer)
    if frame is not None:
        return segment(clip, mask, frame), canonical_labels(clip, mask, frame)
    tall, wide = clip.canonical.shape[1:]
    return segment(clip, mask), resized_labels(mask, (tall, wide))


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
    clicks, not_clicks = scaled(parse_points(arguments.click)), scaled(parse_points(arguments.not_click))
    return mask_from_prompts(seen, clicks, box, not_clicks, arguments.method)
