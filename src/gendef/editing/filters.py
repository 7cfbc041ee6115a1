"""Built-in filters of the canonical image: functions of an image (3, H, W) in [-1, 1]."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.errors import InputError

Filter = Callable[[Tensor], Tensor]

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601, as in JPEG."""
SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))


def grey(image: Tensor) -> Tensor:
    """The luma of Rec. 601 in all channels."""
    return _luma(image).expand(3, -1, -1)


def sepia(image: Tensor) -> Tensor:
    """The brown tone of old prints."""
    brown = torch.tensor(SEPIA, dtype=image.dtype, device=image.device)
    return (torch.einsum("oc,chw->ohw", brown, (image + 1) / 2) * 2 - 1).clamp(-1, 1)


def posterise(image: Tensor, levels: float = 4.0) -> Tensor:
    """Each channel in `levels` equally spaced steps."""
    steps = round(levels) - 1
    return ((image.clamp(-1, 1) + 1) / 2 * steps).round() / steps * 2 - 1


def edge(image: Tensor, strength: float = 1.0) -> Tensor:
    """A pencil drawing: dark lines on white where brightness changes (Sobel's operator)."""
    slope = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=image.dtype, device=image.device)
    kernels = torch.stack((slope, slope.T))[:, None] / 4
    gradient = F.conv2d(F.pad(_luma(image)[None], (1, 1, 1, 1), mode="replicate"), kernels)[0]
    return (1 - 2 * strength * gradient.norm(dim=0)).clamp(-1, 1).expand(3, -1, -1)


def hue(image: Tensor, degrees: float = 90.0) -> Tensor:
    """Colours turned around the grey axis (Rodrigues' rotation); brightness stays."""
    angle = math.radians(degrees)
    third = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    turn = math.cos(angle) * torch.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * third
    return torch.einsum("oc,chw->ohw", turn.to(image), image).clamp(-1, 1)


def blur(image: Tensor, sigma: float = 2.0) -> Tensor:
    """Gaussian blur with `sigma` in pixels of the canonical image."""
    reach = max(math.ceil(3 * sigma), 1)
    place = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-0.5 * (place / sigma) ** 2)
    weights = (weights / weights.sum()).expand(3, 1, 1, -1)
    rows = F.conv2d(F.pad(image[None], (reach, reach, 0, 0), mode="replicate"), weights, groups=3)
    return F.conv2d(F.pad(rows, (0, 0, reach, reach), mode="replicate"), weights.transpose(2, 3), groups=3)[0]


def _luma(image: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, dtype=image.dtype, device=image.device)
    return (image * weights[:, None, None]).sum(dim=0, keepdim=True)


# name -> (function, smallest and largest amount; None for filters without one)
FILTERS: dict[str, tuple[Callable[..., Tensor], tuple[float, float] | None]] = {
    "grey": (grey, None),
    "sepia": (sepia, None),
    "posterise": (posterise, (2, 256)),
    "edge": (edge, (0.01, 100)),
    "hue": (hue, (-360, 360)),
    "blur": (blur, (0.01, 1000)),
}


def parse_filter(text: str) -> Filter:
    """Parse a filter: "sepia", or with an amount "blur:3" (sigma in pixels), "hue:180" (degrees), "posterise:5".

    Raises:
        InputError: the filter is unknown, or its amount is out of range or not expected.
    """
    name, colon, amount = text.partition(":")
    if name not in FILTERS:
        raise InputError(f"unknown filter {name!r}; one of: {', '.join(FILTERS)}")
    function, limits = FILTERS[name]
    if not colon:
        return function
    if limits is None:
        raise InputError(f"the filter {name} takes no amount, got {text!r}")
    try:
        value = float(amount)
    except ValueError:
        raise InputError(f"the amount of {text!r} is not a number; say for instance {name}:{limits[0]:g}") from None
    if not limits[0] <= value <= limits[1]:
        raise InputError(f"the amount of {name} must be between {limits[0]:g} and {limits[1]:g}, got {amount}")
    return lambda image: function(image, value)
