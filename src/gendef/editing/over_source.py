"""Compositing of edits over the original footage; unedited pixels keep the source's values and resolution.

A rendered fit lacks the finest detail of the source. So only the edit is taken from the rendering: paint replaces the
source where the canonical image was changed, and a filter adds the difference that it makes in the rendering.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.media.images import resized, to_uint8
from gendef.video.base import Video

Mode = Literal["paint", "difference"]
FIRST_CHANGE, FULL_CHANGE = 1.0, 6.0
"""Changes of a canonical pixel, in levels of 255, at which the edit begins to cover the source, and covers it fully."""


def change_masks(before: Video, after: Video) -> list[Tensor]:
    """For each layer the opacity of the edit, (1, h, w) in [0, 1], at the edited canonical image's size."""
    masks = []
    for (_, old), (_, new) in zip(before.canonical_images, after.canonical_images, strict=True):
        levels = (new - resized(old, new.shape[1:])).abs().amax(dim=0, keepdim=True) * 127.5
        # Resampling to another size changes edges slightly, which does not count as an edit.
        allowed = FIRST_CHANGE if new.shape == old.shape else FULL_CHANGE
        masks.append(((levels - allowed) / (FULL_CHANGE - FIRST_CHANGE)).clamp(0, 1))
    return masks


def composited(
    before: Video, after: Video, source: Iterator[np.ndarray], size: tuple[int, int], mode: Mode = "paint"
) -> Iterator[np.ndarray]:
    """The edited video over its source, frame by frame, uint8 (H, W, 3).

    Args:
        before, after: the clip without and with the edit, of the same fields.
        source: frames of the original footage, uint8 (H, W, 3) of `size`.
        size: height and width.
        mode: "paint" shows the edited rendering where the canonical image was changed; "difference" adds to the source
            what the edit changed in the rendering, which keeps its detail under a filter.
    """
    masks = mask_video(before, after)
    for number, picture in enumerate(source):
        cover = edit_cover(masks, number, size)
        if not bool(cover.any()):
            yield picture
            continue
        shown = after.render(size, [number])[0]
        original = torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, 0).float() / 127.5 - 1
        if mode == "difference":
            shown = original + shown - before.render(size, [number])[0]
        mixed = to_uint8(original + (shown.clamp(-1, 1) - original) * cover)
        untouched = (cover == 0)[0].numpy()
        mixed[untouched] = picture[untouched]
        yield mixed


def mask_video(before: Video, after: Video) -> Video:
    """The clip with the masks of its edit in the place of its canonical images: -1 unchanged, 1 covered."""
    masks = before.without_illumination()
    for number, mask in enumerate(change_masks(before, after)):
        masks = masks.with_canonical(mask.expand(3, -1, -1) * 2 - 1, number)
    return masks


def edit_cover(masks: Video, frame: int, size: tuple[int, int]) -> Tensor:
    """Opacity of the edit in a frame, (1, H, W) in [0, 1].

    The masks are warped and composited like the canonical images, and multiplied by the clip's visibility: where the
    canonical image does not explain the frame, the source is kept.

    Args:
        masks: see `mask_video`.
    """
    cover = (masks.render(size, [frame])[0, :1].clamp(-1, 1) + 1) / 2
    if masks.visibility is not None:
        seen = masks.visibility[frame][None, None].float()
        cover = cover * F.interpolate(seen, size, mode="bilinear", align_corners=False)[0]
    return torch.where(cover < 1 / 255, torch.zeros(()), cover)


def layer_frames(before: Video, after: Video, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The edit alone, with straight alpha: uint8 (H, W, 4) of each frame."""
    masks = mask_video(before, after)
    for number in range(after.num_frames):
        colour = to_uint8(after.render(size, [number])[0])
        alpha = (edit_cover(masks, number, size)[0] * 255).round().to(torch.uint8).numpy()
        yield np.dstack((colour, alpha))


def pointwise(change: Callable[[Tensor], Tensor], source: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """A pointwise colour filter, applied to the source itself: uint8 (H, W, 3) of each frame."""
    for picture in source:
        image = torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, 0).float() / 127.5 - 1
        yield to_uint8(change(image))
