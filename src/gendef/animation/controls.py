"""How a user steers a motion: arrows, and a direction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gendef.animation.key_fields import KeyFields, PointConstraint
from gendef.animation.smooth_fields import at_points
from gendef.errors import InputError
from gendef.geometry import to_normalised

DIRECTIONS = {"right": 0.0, "up": 90.0, "left": 180.0, "down": 270.0}
"""Degrees, counted from the right over the top."""
REACH = 0.5
"""Standard deviation of the correction around the tip of an arrow, in normalised units: half of half the picture."""
CORRECTIONS = 3
"""Rounds of corrections: at the tip of one arrow those of the others count too."""
AIMLESS = 0.05
"""Length of the mean displacement, relative to the root mean square one, below which a motion has no direction."""


@dataclass(frozen=True)
class Arrow:
    """What is at a point of the photograph at first shall be at another at last, in normalised coordinates."""

    start: tuple[float, float]
    tip: tuple[float, float]

    @property
    def displacement(self) -> tuple[float, float]:
        """From start to tip."""
        return self.tip[0] - self.start[0], self.tip[1] - self.start[1]


def read_arrows(arrows: Sequence[Sequence[float]], size: Sequence[int]) -> list[Arrow]:
    """Arrows (x0, y0, x1, y1) in pixels of a photograph of `size` (height, width).

    Raises:
        InputError: an arrow is not four finite numbers, or starts or ends outside the photograph.
    """
    result = []
    for arrow in arrows:
        values = [float(value) for value in arrow]
        if len(values) != 4 or not all(map(math.isfinite, values)):
            raise InputError(f"an arrow must be x0, y0, x1, y1, got {tuple(arrow)}")
        ends = torch.tensor(values).reshape(2, 2)
        places = to_normalised(ends, size)
        if float(places.abs().max()) > 1:
            shown = ",".join(f"{value:g}" for value in values)
            raise InputError(f"the arrow {shown} leaves the photograph of {size[1]}x{size[0]} pixels")
        (x0, y0), (x1, y1) = places.tolist()
        result.append(Arrow((x0, y0), (x1, y1)))
    return result


def constraints_of(arrows: Sequence[Arrow], keys: Tensor, first: float, last: float) -> list[PointConstraint]:
    """Displacements at points within the key times (K,), for a motion from `first` <= 0 to `last` > 0 frames.

    An arrow holds from time 0 to `last`, and the same displacement again before 0, so that loops go on the same way.
    Where the times lie beyond the keys, the part of the way until the outermost key counts.
    """
    found = []
    for arrow in arrows:
        for end, outer in ((last, float(keys[-1])), (first, float(keys[0]))):
            time = min(end, outer) if end > 0 else max(end, outer)
            if time != 0:
                share = time / last
                dx, dy = (share * value for value in arrow.displacement)
                found.append(PointConstraint(*arrow.start, dx, dy, time))
    return found


def pulled(fields: Tensor, arrows: Sequence[Arrow], shares: Tensor) -> Tensor:
    """Fields (T, h, w, 2) corrected so that every arrow's start arrives at its tip exactly.

    The correction is a smooth hill around each place on the way to the tip and grows with the way.

    Args:
        shares: (T,) of the way that is gone in each frame; 1 at the end of the way, negative before time 0.
    """
    if not len(arrows):
        return fields
    starts = torch.tensor([arrow.start for arrow in arrows])
    ways = torch.tensor([arrow.displacement for arrow in arrows])
    last = int(shares.abs().argmax())
    for _ in range(CORRECTIONS):
        tips = starts + ways * shares[last]
        gap = -ways * shares[last] - at_points(fields[last : last + 1], tips)[0]
        amounts = torch.linalg.solve(_hills(tips, tips) + 1e-4 * torch.eye(len(tips)), gap) / shares[last]
        height, width = fields.shape[1:3]
        cells = torch.stack(torch.meshgrid(_centres(width), _centres(height), indexing="xy"), dim=-1).reshape(-1, 2)
        corrected = fields.clone()
        for t, share in enumerate(shares.tolist()):
            hills = _hills(cells, starts + ways * share)
            corrected[t] += share * (hills @ amounts).reshape(height, width, 2)
        fields = corrected
    return fields


def _hills(places: Tensor, centres: Tensor) -> Tensor:
    """Height (N, M) at places (N, 2) of bell curves around centres (M, 2)."""
    return torch.exp(-torch.cdist(places, centres).square() / (2 * REACH**2))


def _centres(cells: int) -> Tensor:
    return (2 * torch.arange(cells) + 1) / cells - 1


def parse_direction(direction: str | float) -> float:
    """Degrees from the right over the top, from a name or a number.

    Raises:
        InputError: neither right, up, left or down nor a number.
    """
    if direction in DIRECTIONS:
        return DIRECTIONS[str(direction)]
    try:
        degrees = float(direction)
    except ValueError:
        degrees = math.nan
    if not math.isfinite(degrees):
        raise InputError(f"a direction must be one of {', '.join(DIRECTIONS)}, or degrees, got {direction!r}")
    return degrees


def turned(motion: KeyFields, degrees: float, moving: Tensor, size: Sequence[int]) -> KeyFields:
    """A motion with all displacements turned by one angle, so that what moves goes in a direction on average.

    Args:
        degrees: the direction, from the right over the top.
        moving: (H, W) weights of what moves.
        size: height and width of the photograph: angles are those on its pixels.

    Raises:
        InputError: the motion goes nowhere on average, as one towards the camera.
    """
    height, width = motion.fields.shape[1:3]
    weight = torch.nn.functional.adaptive_avg_pool2d(moving[None].float(), (height, width))[0, ..., None]
    scale = torch.tensor([size[1] / 2, size[0] / 2])
    ways = -(motion.fields[-1] - motion.fields[0]) * scale
    mean = (ways * weight).sum(dim=(0, 1)) / weight.sum().clamp(min=1e-6)
    usual = ((ways.square().sum(dim=-1, keepdim=True) * weight).sum() / weight.sum().clamp(min=1e-6)).sqrt()
    if float(mean.norm()) <= AIMLESS * float(usual):
        raise InputError("this motion has no direction to turn: choose another seed, or leave the direction out")
    # Rows count downwards, angles upwards.
    angle = -math.radians(degrees) - math.atan2(float(mean[1]), float(mean[0]))
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = torch.tensor([[cosine, -sine], [sine, cosine]])
    fields = (motion.fields * scale) @ rotation.T / scale
    return KeyFields(motion.times, fields, motion.moving)
