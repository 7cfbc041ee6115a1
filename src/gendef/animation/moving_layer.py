"""What moves in a motion window, and its motion continued over what stands still."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.geometry import identity_grid, sample

NEAR = 12.0
"""Frames around the reference frame in which a place must move to count as moving."""
HORIZON = 32.0
"""Motion is told in pixels over so many frames ..."""
PIXELS = 256
"""... of an image of so many pixels."""
STILL = 1.0
"""What goes less far than this, in such pixels, stands still: optical flow is no surer."""
STILL_SHARE = 0.03
"""What is slower than this share of a window's fast places stands still, too. Little: far places of a road are slow."""
TEXTURE = 4.0
"""Mean difference of neighbouring pixels, of 255, above which optical flow can be sure that nothing moves."""


def travel(fields: Tensor, visible: Tensor, key_times: Tensor) -> Tensor:
    """How far each place of the reference frame moves: (N, K, G, G, 2) -> (N, G, G), pixels in `HORIZON` frames.

    Args:
        fields: normalised offsets.
        visible: (N, K, G, G) in [0, 1], weights.
        key_times: (K,) frames.
    """
    near = (key_times.abs() <= NEAR) & (key_times != 0)
    rate = fields[:, near].norm(dim=-1) / key_times[near].abs()[None, :, None, None]
    weight = visible[:, near] + 1e-3
    return (rate * weight).sum(dim=1) / weight.sum(dim=1) * HORIZON * PIXELS / 2


def moving_places(travelled: Tensor) -> Tensor:
    """Which places move, (N, G, G) in pixels as `travel` gives it -> (N, G, G) in [0, 1]."""
    fast = torch.quantile(travelled.flatten(1), 0.95, dim=1)
    threshold = (STILL_SHARE * fast).clamp(min=STILL)[:, None, None]
    share = ((travelled / threshold - 0.5) / 1.0).clamp(0, 1)
    return share * share * (3 - 2 * share)


def textured(images: Tensor, grid: int) -> Tensor:
    """Where optical flow has something to hold on to: uint8 images (N, 3, S, S) -> (N, grid, grid) in [0, 1].

    A clear sky has the flow 0 whether it moves or not.
    """
    grey = images.float().mean(dim=1, keepdim=True)
    change = F.pad(grey.diff(dim=2).abs(), (0, 0, 0, 1)) + F.pad(grey.diff(dim=3).abs(), (0, 1))
    return (F.adaptive_avg_pool2d(change, grid)[:, 0] / TEXTURE).clamp(max=1)


def moving_layer(fields: Tensor, visible: Tensor, moving: Tensor, side: int) -> Tensor:
    """The motion of what moves, continued over the rest: (N, K, G, G, 2) -> (N, K, side, side, 2).

    Args:
        visible: (N, K, G, G) in [0, 1]; what the reference frame does not show is continued too.
        moving: (N, G, G) in [0, 1], of the reference frame.
        side: of the result; G must be a multiple of it.
    """
    count, keys, grid = fields.shape[:3]
    places = identity_grid(grid, grid) + fields.flatten(0, 1)
    # A place of a frame moves with what it shows of the reference frame.
    there = sample(moving[:, None].repeat_interleave(keys, 0), places)[:, 0]
    weight = (there * visible.flatten(0, 1))[:, None]
    values = fields.flatten(0, 1).movedim(-1, 1)
    block = grid // side
    mass = F.avg_pool2d(weight, block)
    mean = F.avg_pool2d(values * weight, block) / mass.clamp(min=1e-6)
    filled = continued(mean, mass)
    return filled.movedim(1, -1).reshape(count, keys, side, side, 2)


def continued(values: Tensor, weight: Tensor) -> Tensor:
    """Values (N, C, S, S) where weights (N, 1, S, S) are near 1, elsewhere smoothly from what is around (pull-push).

    Gortler et al., The Lumigraph, 1996, section 3.4. Zeros where an image has no weight at all; S is a power of two.
    """
    side = values.shape[-1]
    trust = (weight * 4).clamp(max=1)
    if side == 1:
        return values * (weight > 0)
    mass = F.avg_pool2d(trust, 2)
    coarse = F.avg_pool2d(values * trust, 2) / mass.clamp(min=1e-6)
    below = continued(coarse, mass)
    below = F.interpolate(below, size=(side, side), mode="bilinear", align_corners=False)
    return values * trust + below * (1 - trust)
