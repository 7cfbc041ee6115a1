"""A clip of a photograph, of what moves in it, and of fields: layers, with pictures filled in where they were hidden.

What moves lies behind what stands still, as the sky behind houses, and then its outline stands still too; or before it,
and then its outline moves along. The picture of what moves has margins, so that what comes in from beyond the border is
there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.animation.inpainting import Inpainter
from gendef.animation.matte import softened
from gendef.animation.smooth_fields import node_positions, on_nodes
from gendef.errors import InputError
from gendef.geometry import identity_grid, sample, to_normalised, to_pixels
from gendef.media.images import to_uint8
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layer import Layer
from gendef.video.layered_video import LayeredVideo, to_alpha

MOVING, STILL = "moving", "still"
"""Names of the layers; the second pass of a loop is named with `SECOND` behind."""
SECOND = ", second pass"
FARTHEST_MARGIN = 0.75
"""Margin at a side that is filled in, at most, as a share of the picture's side; beyond, border colours repeat."""
LARGEST_CROP = 0.6
"""Share of the picture's sides that is left by cropping, at least; what is still beyond the border is filled in."""
SPARE_PIXELS = 2
"""Margin beyond what the nodes need, for the places between them."""


@dataclass(frozen=True)
class Moved:
    """One pass of the motion.

    Attributes:
        fields: (T, h, w, 2), from the frames to the photograph, values at the centres of cells.
        shares: (T,) of the pass in the picture.
    """

    fields: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Canvas:
    """A picture with margins around it, in pixels.

    Attributes:
        size: height and width of the picture.
    """

    size: tuple[int, int]
    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    @property
    def full_size(self) -> tuple[int, int]:
        """Height and width with margins."""
        return self.size[0] + self.top + self.bottom, self.size[1] + self.left + self.right

    def places(self, positions: Tensor) -> Tensor:
        """Normalised places (..., 2) of the picture -> of the canvas."""
        if self.full_size == self.size:
            return positions  # bit for bit
        corner = torch.tensor([self.left, self.top], dtype=positions.dtype)
        return to_normalised(to_pixels(positions, self.size) + corner, self.full_size)

    def around(self, values: Tensor) -> Tensor:
        """A picture (C, H, W) with margins of zeros."""
        return F.pad(values, (self.left, self.right, self.top, self.bottom))


def build(
    image: Tensor,
    moving: Tensor,
    passes: Sequence[Moved],
    counts: Sequence[int],
    *,
    fps: float,
    in_front: bool,
    crop: bool,
    inpaint: Inpainter,
    info: dict[str, Any],
    report: dict[str, Any],
) -> CanonicalVideo | LayeredVideo:
    """The clip.

    Args:
        image: the photograph (3, H, W).
        moving: (H, W) bool, what moves.
        passes: one, or two that fade into each other.
        counts: rows and columns of nodes of the clip's fields.
        in_front: what moves is before what stands still; otherwise behind it.
        crop: zoom in so that nothing from beyond the border is seen.
        inpaint: fills pictures in.
    """
    size = (image.shape[1], image.shape[2])
    alpha = softened(moving, outwards=in_front)
    everything = bool(moving.all())
    view = _view(passes, alpha, counts, size) if crop else 1.0
    sampled = [node_positions(counts, size) * view + on_nodes(moved.fields, counts, size, view) for moved in passes]
    seen = [_seen(places, alpha, in_front=in_front, view=view) for places in sampled]
    canvas = _canvas(sampled, seen, size)
    # Behind a still outline nothing of what stands still may be seen; before it the outline is cut by alpha.
    unknown = torch.ones(canvas.full_size, dtype=torch.bool)
    inner = (slice(canvas.top, canvas.top + size[0]), slice(canvas.left, canvas.left + size[1]))
    unknown[inner] = (alpha <= 0) & ~torch.tensor(in_front)
    picture = _filled(canvas.around(image), unknown, inpaint)
    base = node_positions(counts, size)
    clips = [CanonicalVideo(picture, canvas.places(places) - base, fps, size=size) for places in sampled]
    if everything and len(clips) == 1:
        clips[0].info, clips[0].report = info, report
        return clips[0]
    names = [MOVING, MOVING + SECOND]
    if in_front:
        hidden = alpha >= 1
        behind = _filled(image, hidden, inpaint)
        still = _still(behind, view, size, len(passes[0].shares), fps)
        masks = [_moved_alpha(canvas.around(alpha[None]), clip) for clip in clips]
        over = _over([mask * moved.shares[:, None, None] for mask, moved in zip(masks, passes, strict=True)])
        layers = [Layer(still, None, name=STILL)]
        layers += [Layer(clip, to_alpha(a), name=n) for clip, a, n in zip(clips, over, names, strict=False)]
        return LayeredVideo(layers, fps, info=info, report=report)
    layers = [Layer(clips[0], None, name=names[0])]
    frames = len(passes[0].shares)
    if len(clips) > 1:
        fade = to_alpha(passes[1].shares)[:, None, None].expand(frames, *size)
        layers.append(Layer(clips[1], fade, name=names[1]))
    if not everything:
        still = _still(image, view, size, frames, fps)
        cover = sample(1 - alpha[None, None], identity_grid(*size)[None] * view)[0] if view != 1 else 1 - alpha[None]
        layers.append(Layer(still, to_alpha(cover).expand(frames, *size), name=STILL))
    return LayeredVideo(layers, fps, info=info, report=report)


def moving_nodes(alpha: Tensor, counts: Sequence[int]) -> Tensor:
    """Nodes near which something of (H, W) is above zero, (rows, columns) bool."""
    return F.adaptive_max_pool2d(alpha[None], (counts[0], counts[1]))[0] > 0


def _seen(places: Tensor, alpha: Tensor, *, in_front: bool, view: float) -> Tensor:
    """Which of the places (T, rows, columns, 2) that the nodes look at are seen, bool."""
    if in_front:
        # What moves is seen wherever it comes to, and a cell around, as its alpha is finer than the nodes.
        wide = F.max_pool2d(
            alpha[None, None], 2 * max(max(alpha.shape) // 64, 1) + 1, 1, max(max(alpha.shape) // 64, 1)
        )
        return sample(wide.expand(len(places), -1, -1, -1), places, padding="border")[:, 0] > 0
    counts = places.shape[1:3]
    cropped = alpha
    if view != 1:
        cropped = sample(alpha[None, None], identity_grid(*alpha.shape)[None] * view)[0, 0]
    return moving_nodes(cropped, counts).expand(places.shape[:3])


def _view(passes: Sequence[Moved], alpha: Tensor, counts: Sequence[int], size: Sequence[int]) -> float:
    """The largest middle part of the picture, as a share of its sides, in which nothing from beyond is seen."""

    def holds(view: float) -> bool:
        for moved in passes:
            places = node_positions(counts, size) * view + on_nodes(moved.fields, counts, size, view)
            seen = _seen(places, alpha, in_front=False, view=view)
            if bool((places[seen].abs() > 1).any()):
                return False
        return True

    if holds(1.0):
        return 1.0
    low, high = LARGEST_CROP, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _canvas(sampled: Sequence[Tensor], seen: Sequence[Tensor], size: tuple[int, int]) -> Canvas:
    """Margins that hold everything that is seen."""
    places = torch.cat([place[shown] for place, shown in zip(sampled, seen, strict=True)])
    if not len(places):
        return Canvas(size)
    pixels = to_pixels(places, size)
    low, high = pixels.amin(dim=0), pixels.amax(dim=0)
    (left, top), (right, bottom) = (-low).tolist(), (high - torch.tensor([size[1] - 1, size[0] - 1])).tolist()

    def margin(beyond: float, side: int) -> int:
        # Half a pixel beyond the outermost centre is still the picture's border.
        return 0 if beyond < 0.5 else min(int(np.ceil(beyond)) + SPARE_PIXELS, round(FARTHEST_MARGIN * side))

    return Canvas(size, margin(left, size[1]), margin(top, size[0]), margin(right, size[1]), margin(bottom, size[0]))


def _filled(image: Tensor, unknown: Tensor, inpaint: Inpainter) -> Tensor:
    """The image (3, H, W) with what is unknown (H, W) filled in; the rest keeps every bit.

    Raises:
        InputError: the inpainting function gives something else than a picture of the same size.
    """
    if not bool(unknown.any()):
        return image
    picture = to_uint8(image)
    filled = np.asarray(inpaint(picture, unknown.numpy()))
    if filled.shape != picture.shape or filled.dtype != np.uint8:
        raise InputError(f"the inpainting function must give uint8 {picture.shape}, got {filled.dtype} {filled.shape}")
    return torch.where(unknown, torch.from_numpy(filled).movedim(-1, 0).float() / 127.5 - 1, image)


def _still(image: Tensor, view: float, size: tuple[int, int], frames: int, fps: float) -> CanonicalVideo:
    """A clip of an image that stands still, or of its middle part."""
    zoom = node_positions((2, 2), size) * (view - 1)
    return CanonicalVideo(image, zoom.expand(frames, -1, -1, -1), fps, size=size)


def _moved_alpha(alpha: Tensor, clip: CanonicalVideo) -> Tensor:
    """Alpha of the canvas (1, H, W) in every frame of a clip, (T, h, w)."""
    parts = []
    for frame in range(clip.num_frames):
        grid = identity_grid(*clip.size) + clip.fields([frame])[0]
        parts.append(sample(alpha[None], grid[None], padding="zeros")[0, 0])
    return torch.stack(parts)


def _over(alphas: list[Tensor]) -> list[Tensor]:
    """Alphas of layers, each over those before it, that show the shares that are asked for."""
    if len(alphas) == 1:
        return alphas
    lower, upper = alphas
    return [lower / (1 - upper).clamp(min=1e-6), upper]
