"""`gendef segment`: a mask carried through a clip."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from torch import Tensor

from gendef.applications.clicks import Method, mask_from_prompts
from gendef.applications.layers import canonical_labels_of_layers
from gendef.applications.segment import canonical_labels, resized_labels, segment, to_labels
from gendef.applications.segment_files import write_masks
from gendef.applications.track import checked_frame
from gendef.canonical_video import CanonicalVideo
from gendef.cli.layers import chosen_layer
from gendef.cli.points import parse_numbers, parse_points
from gendef.cli.progress import progress_bar
from gendef.composite import CompositeVideo, canonical_pictures, load_clip
from gendef.errors import InputError
from gendef.media.images import read_image
from gendef.media.video import to_uint8

DESCRIPTION = (
    "Carry a mask or a label map through a clip; it lies on the canonical image, or on a frame with --frame.\n\n"
    "The mask is a picture (--mask: black and white, labels as grey levels or palette indices, or transparent around "
    "the object), or is made from clicks and a box; x,y are pixels, the top-left one is 0,0. Writes masks/00000.png, "
    "..., canonical_mask.png, overlay.mp4 and the sheet segments.png.\n\n"
    "example: gendef segment videos/seed0000 --mask mask.png --out segments\n\n"
    "example: gendef segment videos/seed0000 --click 40,18 --click 44,25 --not-click 10,50 --out segments\n\n"
    "example: gendef segment videos/seed0000 --box 20,4,60,40 --frame 12 --out segments"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    clip: Annotated[Path, tyro.conf.Positional]
    """Clip folder."""
    mask: Path | None = None
    """Picture of the mask or of labels, of any size."""
    click: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A point x,y on the object; may be repeated."""
    not_click: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A point x,y beside the object; may be repeated."""
    box: str | None = None
    """A box x0,y0,x1,y1 around the object."""
    frame: int | None = None
    """Frame on which mask, clicks and box lie; default the canonical image."""
    layer: int | None = None
    """Layer on whose canonical image they lie, in a clip of layers; default 0, the one at the back."""
    method: Method = "grabcut"
    """How clicks and a box make a mask: GrabCut (extra fit), random walks, or SAM 2 (its own package)."""
    out: Path = field(default=Path("segments"))
    """Folder for the results."""
    json: bool = False
    """Print the area of each label in each frame, in pixels, as JSON."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    arguments = tyro.cli(Arguments, args=argv, prog="gendef segment", description=DESCRIPTION)
    clip = load_clip(arguments.clip)
    layer = chosen_layer(clip, arguments.layer, arguments.frame)
    mask = to_labels(_mask(arguments, clip, layer))
    masks, canonical = _carried(clip, mask, arguments.frame, layer)
    with progress_bar() as progress:
        task = progress.add_task("drawing", total=clip.num_frames)
        write_masks(clip, masks, canonical, arguments.out, lambda: progress.advance(task))
    labels = [int(label) for label in mask.unique() if label]
    if arguments.json:
        areas = {str(label): (masks == label).sum(dim=(1, 2)).tolist() for label in labels}
        print(json.dumps({"frame": arguments.frame, "areas": areas, "out": str(arguments.out)}))
    else:
        share = 100 * (masks != 0).float().mean().item()
        print(
            f"{len(labels)} label{'' if len(labels) == 1 else 's'} in {clip.num_frames} frames, on average "
            f"{share:.1f} % of the picture; look at {arguments.out / 'overlay.mp4'}"
        )
    return 0


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


def _mask(arguments: Arguments, clip: CanonicalVideo | CompositeVideo, layer: int) -> Any:
    """The mask as given, or made from clicks and box."""
    marked = bool(arguments.click or arguments.not_click or arguments.box)
    if arguments.mask is not None:
        if marked:
            raise InputError("give either --mask, or --click and --box, not both")
        return read_image(arguments.mask)
    if arguments.frame is None:
        picture = canonical_pictures(clip)[layer][1]
    else:
        picture = clip.render(frames=[checked_frame(clip, arguments.frame)])[0]
    box = None if arguments.box is None else parse_numbers(arguments.box, 4, "a box as x0,y0,x1,y1")
    return mask_from_prompts(
        to_uint8(picture), parse_points(arguments.click), box, parse_points(arguments.not_click), arguments.method
    )
