"""Edits of layered clips: drawings on a frame, and transfer of edits between the segments of an object."""

from typing import Any

import torch
from torch import Tensor

from gendef.editing.edit import overlay, overlay_frame
from gendef.errors import InputError
from gendef.geometry import identity_grid, invert_points, sample, to_normalised, to_pixels
from gendef.media.images import resized, to_rgba_tensor
from gendef.video.base import Video
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layer import shown_by
from gendef.video.point_tracks import shown_at

CHANGED = 0.5 / 127.5
"""Smallest colour difference of an edited pixel: half a level of 255."""
HANDOVERS = 3
"""Largest number of shared frames used to transfer an edit to the next segment."""


def draw_on_frame(video: Video, drawing: Any, frame: int) -> Video:
    """Composite a picture with alpha over one frame; each layer receives the part over its visible pixels.

    Args:
        drawing: RGBA, of any size; it covers the whole frame.
        frame: number of the frame.

    Raises:
        InputError: the drawing has no alpha, or the frame does not exist.
    """
    colour, alpha = to_rgba_tensor(drawing)
    if alpha is None:
        raise InputError("an overlay needs an alpha channel (RGBA): without it, it would cover the whole video")
    owners = video.owners(video.checked_frame(frame))
    result = video
    for number in owners.unique().tolist():
        if number < 0:
            continue
        mine = resized((owners == number)[None].float(), alpha.shape[1:])
        part = _rgba(colour, alpha * mine)
        if not bool((part[..., 3] > 0).any()):
            continue
        layer = result.layers[number]
        result = carry_edit(result, number, overlay_frame(layer.video, part.numpy(), frame - layer.start))
    return result


def carry_edit(video: Video, number: int, edited: CanonicalVideo) -> Video:
    """Replace a layer by its edited video, and transfer the edit to the earlier and later layers of the same object.

    Layers of one name are one object. In the frames that two of them share, exact inversion maps positions of one
    canonical image to the other. Parts outside all of these frames are not transferred. Parts that are occluded in all
    of them are transferred by the extrapolated fields.

    Args:
        number: of the layer that was edited.
        edited: its video with another canonical image.

    Raises:
        InputError: there is no such layer, or the video does not fit.
    """
    result = video.with_layer(number, edited)
    parts = video.parts(video.layers[number].name)
    here = parts.index(number)
    for order in (parts[here + 1 :], parts[:here][::-1]):
        last = number
        for k in order:
            one, two = result.layers[last], result.layers[k]
            both = range(max(one.start, two.start), min(one.end, two.end))
            change = _change(video.layers[last].video.canonical, one.video.canonical)
            if not both or not bool((change[3] > 0).any()):
                break
            middle = len(both) // 2
            frames = sorted({both[0], both[middle], both[-1]}, key=lambda t: abs(t - both[middle]))[:HANDOVERS]
            shown = [shown_by(video.layers, video.owners(t), one.name) for t in frames]
            pairs = [(t - one.start, t - two.start) for t in frames]
            drawing = _between(change, one.video, two.video, pairs, shown)
            result = result.with_layer(k, overlay(two.video, drawing.movedim(0, -1).contiguous().numpy()))
            last = k
    return result


def _change(before: Tensor, after: Tensor) -> Tensor:
    """The edited image where it differs from the one before, premultiplied (4, h, w)."""
    alpha = ((after - resized(before, after.shape[1:])).abs().amax(dim=0, keepdim=True) > CHANGED).float()
    return torch.cat((after * alpha, alpha))


def _between(
    change: Tensor, one: CanonicalVideo, two: CanonicalVideo, frames: list[tuple[int, int]], shown: list[Tensor]
) -> Tensor:
    """Transfer a premultiplied change from one canonical image to the other, as uint8 RGBA (4, Hc, Wc).

    Args:
        frames: numbers of the frames that both show, in each, the most trusted first.
        shown: (H, W) bool for each of these frames, where the object is not occluded. Occluded positions are
            extrapolated; they are used only where no frame shows the position.
    """
    size = (two.canonical.shape[1], two.canonical.shape[2])
    points = to_pixels(identity_grid(*size), size).reshape(-1, 2)
    drawn, best = torch.zeros(4, *size), torch.zeros(size, dtype=torch.long)
    for (here, there), clear in zip(frames, shown, strict=True):
        found = invert_points(two.deformation[there : there + 1], points, size)
        where = to_normalised(found.positions[:, 0], two.size)
        offsets = sample(one.deformation[here].movedim(-1, 0)[None], where[None])[0].T
        layers = sample(change[None], (where + offsets)[None])[0].reshape(4, *size)
        valid = found.valid[:, 0]
        rank = (valid.long() + (valid & shown_at(clear[None], found.positions)[:, 0])).reshape(size)
        drawn = torch.where(rank > best, layers, drawn)
        best = torch.maximum(best, rank)
    return _rgba(drawn[:3] / drawn[3:].clamp(min=1e-6), drawn[3:]).movedim(-1, 0)


def _rgba(colour: Tensor, alpha: Tensor) -> Tensor:
    """Colours in [-1, 1] (3, h, w) with alpha (1, h, w) as uint8 (h, w, 4)."""
    eight = torch.cat(((colour.clamp(-1, 1) + 1) * 127.5, alpha.clamp(0, 1) * 255)).round().to(torch.uint8)
    return eight.movedim(0, -1)
