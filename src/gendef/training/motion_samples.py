"""Training samples of a motion prior: copies of motion windows, cropped, mirrored, turned, reversed and slowed."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.animation.key_fields import spline_weights
from gendef.animation.moving_layer import moving_layer, moving_places, textured, travel
from gendef.data.motions import MotionSet
from gendef.errors import ConfigError
from gendef.geometry import identity_grid, sample

REVERSIBLE = ("sky", "fog")
"""Domains that look as natural backwards, and turned by half a turn."""


@dataclass(frozen=True)
class AugmentConfig:
    """Copies of windows. Fields do not know colours, so that image and field may be changed together."""

    least_crop: float = 0.6
    """Smallest side of a crop, as a share of the frame."""
    crop_rate: float = 0.7
    """Share of the copies that are cropped."""
    least_time: float = 0.6
    """Slowest copy: the motion of this share of the window is stretched over all of it."""
    log_speed: float = 0.4
    """Speeds are multiplied by up to e to this."""
    mirror: bool = True
    """Mirror half of the copies left to right."""
    turn_rate: float = 0.2
    """Share of the copies turned by half a turn, in the domains that allow it."""
    reversible: tuple[str, ...] = field(default=REVERSIBLE)
    """Domains that may be turned, and run backwards (half of the copies)."""

    def __post_init__(self) -> None:
        for name in ("least_crop", "least_time"):
            if not 0.25 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be between 0.25 and 1, got {getattr(self, name)}")
        if self.log_speed < 0:
            raise ConfigError(f"log_speed must not be negative, got {self.log_speed}")


@dataclass(frozen=True)
class Samples:
    """Samples of N windows.

    Attributes:
        fields: (N, K, side, side, 2), motion of what moves, continued over the rest, normalised.
        speed: (N,), its root mean square where something moves; the unit of the coefficients.
        moving: (N, G, G) in [0, 1].
        sure: (N, G, G) in [0, 1], how far `moving` can be trusted.
        maps: feature maps of the images, (N, C, h, w) each.
        window: (N,), number of the window.
    """

    fields: Tensor
    speed: Tensor
    moving: Tensor
    sure: Tensor
    maps: list[Tensor]
    window: Tensor


LEAST_SPEED = 2e-4
"""Slower motion than this (in normalised units) is none."""


def plain_samples(windows: MotionSet, maps: list[Tensor], chosen: Tensor, side: int) -> Samples:
    """The chosen windows as they are; see `augmented_samples`."""
    fields, visible = windows.fields[chosen].float(), windows.visible[chosen].float() / 255
    return _samples(fields, visible, _seen(windows, maps, chosen), windows, side, chosen)


def _seen(windows: MotionSet, maps: list[Tensor], chosen: Tensor) -> list[Tensor]:
    """Feature maps of the chosen windows, and as the last one where they are textured."""
    texture = textured(windows.images[chosen], windows.fields.shape[2])
    return [*(one[chosen].float() for one in maps), texture[:, None]]


def augmented_samples(
    windows: MotionSet,
    maps: list[Tensor],
    chosen: Tensor,
    side: int,
    config: AugmentConfig,
    generator: torch.Generator,
) -> Samples:
    """One changed copy of each of the chosen windows.

    The feature maps are mirrored and cropped in place of the images, which saves computing them for every copy.

    Args:
        maps: feature maps of the images of all windows.
        chosen: (N,) numbers of windows, may repeat.
        side: of the fields.
    """
    fields = windows.fields[chosen].float()
    visible = windows.visible[chosen].float() / 255
    seen = _seen(windows, maps, chosen)
    reversible = torch.tensor(
        [windows.sources[source]["label"] in config.reversible for source in windows.source[chosen].tolist()]
    )

    def draw(rate: float) -> Tensor:
        return torch.rand(len(chosen), generator=generator) < rate

    flipped = draw(0.5 if config.mirror else 0.0)
    fields, visible, seen = _flipped(fields, visible, seen, flipped, 0)
    turned = draw(config.turn_rate) & reversible
    for axis in (0, 1):
        fields, visible, seen = _flipped(fields, visible, seen, turned, axis)
    backwards = draw(0.5) & reversible
    fields = torch.where(backwards[:, None, None, None, None], fields.flip(1), fields)
    visible = torch.where(backwards[:, None, None, None], visible.flip(1), visible)
    fields, visible = _slowed(fields, visible, windows.key_times, config.least_time, generator)
    boxes = _boxes(len(chosen), draw(config.crop_rate), config.least_crop, generator)
    fields, visible, seen = _cropped(fields, visible, seen, boxes)
    faster = ((torch.rand(len(chosen), generator=generator) * 2 - 1) * config.log_speed).exp()
    return _samples(fields * faster[:, None, None, None, None], visible, seen, windows, side, chosen)


def _samples(
    fields: Tensor, visible: Tensor, maps: list[Tensor], windows: MotionSet, side: int, chosen: Tensor
) -> Samples:
    times = torch.tensor(windows.key_times)
    moving = moving_places(travel(fields, visible, times))
    layer = moving_layer(fields, visible, moving, side)
    share = F.adaptive_avg_pool2d(moving[:, None], side)
    weight = share / share.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    ahead = layer[:, times != 0].square().sum(dim=-1).mean(dim=1)
    speed = (ahead * weight[:, 0]).sum(dim=(1, 2)).sqrt()
    return Samples(layer, speed, moving, torch.maximum(maps[-1][:, 0], moving), maps[:-1], chosen)


def _flipped(
    fields: Tensor, visible: Tensor, maps: list[Tensor], which: Tensor, axis: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Mirrored left to right (axis 0) or upside down (axis 1) where `which` (N,) says so."""
    sign = torch.ones(2)
    sign[axis] = -1
    dim = 3 - axis  # of x or y in (N, K, G, G, 2) and (N, C, h, w)
    return (
        torch.where(which[:, None, None, None, None], fields.flip(dim) * sign, fields),
        torch.where(which[:, None, None, None], visible.flip(dim), visible),
        [torch.where(which[:, None, None, None], one.flip(dim), one) for one in maps],
    )


def _slowed(
    fields: Tensor, visible: Tensor, key_times: tuple[float, ...], least: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The motion of an inner part of each window, stretched over all key times."""
    times = torch.tensor(key_times)
    shares = least + (1 - least) * torch.rand(len(fields), generator=generator)
    weights = torch.stack([spline_weights(times, times * share) for share in shares.tolist()])
    slower = torch.einsum("ntk,nkhwc->nthwc", weights, fields)
    nearest = (times[None, :, None] * shares[:, None, None] - times[None, None]).abs().argmin(dim=2)
    rows = torch.arange(len(fields))[:, None]
    return slower, visible[rows, nearest]


def _boxes(count: int, cropped: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Crops (N, 4): centre x, y and half sizes, normalised; whole frames where not `cropped`."""
    draw = torch.rand(count, 4, generator=generator)
    size = least + (1 - least) * draw[:, :1]
    aspect = ((draw[:, 1:2] - 0.5) * 2 * math.log(1.25)).exp()
    half = torch.cat((size * aspect.sqrt(), size / aspect.sqrt()), dim=1).clamp(max=1)
    centre = (draw[:, 2:] * 2 - 1) * (1 - half)
    box = torch.cat((centre, half), dim=1)
    return torch.where(cropped[:, None], box, torch.tensor([0.0, 0.0, 1.0, 1.0]))


def _cropped(fields: Tensor, visible: Tensor, maps: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """What is in each box, at the same sizes."""
    count, keys, grid = fields.shape[:3]
    centre, half = boxes[:, None, None, :2], boxes[:, None, None, 2:]

    def cut(values: Tensor) -> Tensor:
        return sample(values, centre + half * identity_grid(*values.shape[-2:])[None])

    flat = fields.movedim(-1, 2).reshape(count, keys * 2, grid, grid)
    inside = cut(flat).reshape(count, keys, 2, grid, grid).movedim(2, -1) / half[:, None]
    return inside, cut(visible), [cut(one) for one in maps]
