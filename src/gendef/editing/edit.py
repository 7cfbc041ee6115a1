"""Edits of the canonical image that apply to the whole video (GenDeF, section 4.4): images, drawings, filters.

Every edit changes the canonical image only and gives a new `CanonicalVideo` that shares the field. Where an edit does
not change the canonical image, frames are bit-identical.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.editing.filters import Filter, parse_filter
from gendef.errors import InputError
from gendef.geometry import identity_grid, invert_points, sample, to_normalised, to_pixels
from gendef.media.images import LARGEST_VALUE, resized, to_image_tensor, to_rgba_tensor, to_uint8
from gendef.video.canonical_video import CanonicalVideo


def edit_canonical(video: CanonicalVideo, image: Any, mask: Any = None) -> CanonicalVideo:
    """Replace the canonical image.

    Args:
        image: a PIL image, array or tensor, of any size; a larger one gives sharper large videos. Where it is
            transparent, the present canonical image shows.
        mask: see `masked`.

    Raises:
        InputError: the image or the mask cannot be used.
    """
    return masked(video, _unchanged_kept(video, video.with_canonical(image)), mask)


def _unchanged_kept(video: CanonicalVideo, edited: CanonicalVideo) -> CanonicalVideo:
    """Pixels that are the same in 8 bits keep their full precision: a saved picture was rounded, and not edited."""
    if edited.canonical.shape != video.canonical.shape:
        return edited
    old, new = (torch.from_numpy(to_uint8(one.canonical)) for one in (video, edited))
    same = (old == new).all(dim=-1)
    return edited.with_canonical(torch.where(same, video.canonical, edited.canonical))


def overlay(video: CanonicalVideo, drawing: Any, mask: Any = None) -> CanonicalVideo:
    """Composite a picture with alpha over the canonical image.

    Args:
        drawing: RGBA, of any size; it covers the whole canonical image and is resampled to its size.
        mask: see `masked`.

    Raises:
        InputError: the drawing has no alpha, or the mask cannot be used.
    """
    layers = resized(_premultiplied(drawing), video.canonical.shape[1:])
    return masked(video, _drawn_over(video, layers), mask)


def overlay_frame(video: CanonicalVideo, drawing: Any, frame: int, mask: Any = None) -> CanonicalVideo:
    """Composite a picture with alpha over one frame; the field transfers it to all other frames.

    Every pixel of the canonical image takes the drawing's colour at the place where the frame shows that pixel, by
    exact inversion of the field; pixels that the frame does not show are not drawn on.

    Args:
        drawing: RGBA, of any size; it covers the whole frame.
        frame: number of the frame.
        mask: see `masked`.

    Raises:
        InputError: the drawing has no alpha, the frame does not exist, or the mask cannot be used.
    """
    video.checked_frame(frame)
    layers = _premultiplied(drawing)
    size = video.canonical.shape[1:]
    points = to_pixels(identity_grid(*size), size).reshape(-1, 2)
    found = invert_points(video.deformation[frame : frame + 1], points, size)
    where = to_normalised(found.positions[:, 0], video.size)
    # Reduced where a pixel of the canonical image covers several of the drawing; never below the frame's own pixels.
    detail = (max(size[0], video.size[0]), max(size[1], video.size[1]))
    if layers.shape[1] > detail[0] or layers.shape[2] > detail[1]:
        layers = resized(layers, (min(layers.shape[1], detail[0]), min(layers.shape[2], detail[1])))
    carried = sample(layers[None], where[None])[0] * found.valid[:, 0]
    return masked(video, _drawn_over(video, carried.reshape(4, *size)), mask)


def apply_filter(video: CanonicalVideo, change: str | Filter, mask: Any = None) -> CanonicalVideo:
    """Change the canonical image by a function.

    Args:
        change: a built-in filter ("sepia", "blur:3"; see `gendef.editing.filters`), or a callable from an image
            (3, H, W) in [-1, 1] to an image of any size.
        mask: see `masked`.

    Raises:
        InputError: there is no such filter, the callable does not return an image, or the mask cannot be used.
    """
    function = parse_filter(change) if isinstance(change, str) else change
    image = to_image_tensor(function(video.canonical.clone()))
    return masked(video, video.with_canonical(image), mask)


def masked(video: CanonicalVideo, edited: CanonicalVideo, mask: Any = None) -> CanonicalVideo:
    """Keep an edit inside a mask on the canonical image.

    Args:
        mask: white where the edit shows, black where the video stays: a picture, or bool or float (H, W) in [0, 1], of
            any size. None keeps all of the edit.

    Raises:
        InputError: the mask is not of that form.
    """
    if mask is None:
        return edited
    size = edited.canonical.shape[1:]
    share = resized(_as_share(mask), size)
    kept = resized(video.canonical, size)
    image = torch.where(share > 0, kept + share * (edited.canonical - kept), kept)
    return edited.with_canonical(torch.where(share >= 1, edited.canonical, image))


def _as_share(mask: Any) -> Tensor:
    """A mask of any kind as float (1, H, W) in [0, 1]."""
    if isinstance(mask, np.ndarray):
        mask = torch.from_numpy(mask)
    if not isinstance(mask, Tensor) or mask.dtype == torch.uint8:
        return (to_image_tensor(mask).mean(dim=0, keepdim=True) + 1) / 2
    share = mask.detach().cpu().float()
    if share.ndim != 2 or share.numel() == 0:
        raise InputError(f"a mask must be (H, W), got shape {tuple(share.shape)}")
    if not bool(((share >= 0) & (share <= 1)).all()):
        raise InputError("a mask must hold values between 0 (keep) and 1 (edit)")
    return share[None]


def _premultiplied(drawing: Any) -> Tensor:
    """Premultiplied colour and alpha, (4, H, W), so that colours of transparent pixels do not bleed into edges."""
    colour, alpha = to_rgba_tensor(drawing)
    if alpha is None:
        raise InputError("an overlay needs an alpha channel (RGBA): without it, it would cover the whole video")
    return torch.cat((colour * alpha, alpha))


def _drawn_over(video: CanonicalVideo, layers: Tensor) -> CanonicalVideo:
    """Premultiplied layers (4, H, W) of the canonical image's size, put over it."""
    alpha = layers[3:].clamp(0, 1)
    image = torch.where(alpha > 0, layers[:3] + (1 - alpha) * video.canonical, video.canonical)
    return video.with_canonical(image.clamp(-LARGEST_VALUE, LARGEST_VALUE))
