"""Drawings: contact sheets, the optical-flow colour wheel, fields as colours and bent grids."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.media.video import replacing
from gendef.warp import identity_grid, sample


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Images, uint8 (H, W, 3) of one size, in rows of equal or different length, on white."""
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    sheet = np.full((len(rows) * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            top, left = gap + r * (height + gap), gap + c * (width + gap)
            sheet[top : top + height, left : left + width] = image
    return sheet


def write_image(path: Path, image: np.ndarray) -> None:
    """Write uint8 (H, W, 3) as PNG or JPEG, by the suffix."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary)


def colour_wheel() -> np.ndarray:
    """The 55 hues of Baker et al. 2007 (Middlebury flow), float (55, 3) in [0, 1]."""
    segments = ((15, 0, 1), (6, 1, 0), (4, 1, 2), (11, 2, 1), (13, 2, 0), (6, 0, 2))
    wheel = []
    for index, (count, main, other) in enumerate(segments):
        ramp = np.arange(count) / count
        colours = np.zeros((count, 3))
        rising = index % 2 == 0
        if rising:
            colours[:, main], colours[:, other] = 1, ramp
        else:
            colours[:, main], colours[:, other] = 1, 1 - ramp
            colours[:, [main, other]] = colours[:, [main, other]]
        wheel.append(colours)
    return np.concatenate(wheel)


def flow_colours(flow: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Flow (..., H, W, 2) in pixels as colours, uint8 (..., H, W, 3): hue is direction, saturation is speed.

    `largest` is the speed of full colour; default the largest one present.
    """
    speed = np.linalg.norm(flow, axis=-1)
    largest = float(speed.max()) if largest is None else largest
    radius = speed / max(largest, 1e-9)
    wheel = colour_wheel()
    angle = np.arctan2(-flow[..., 1], -flow[..., 0]) / math.pi
    position = (angle + 1) / 2 * (len(wheel) - 1)
    low = np.floor(position).astype(int)
    share = (position - low)[..., None]
    colour = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    inside = radius[..., None] <= 1
    colour = np.where(inside, 1 - np.minimum(radius, 1)[..., None] * (1 - colour), colour * 0.75)
    return np.round(255 * colour).astype(np.uint8)


def bent_grid(deformation: Tensor, cell: int = 8, scale: int = 4) -> np.ndarray:
    """The straight grid of the canonical image as every frame sees it: (T, H, W, 2) -> uint8 (T, sH, sW, 3)."""
    height, width = (side * scale for side in deformation.shape[1:3])
    lines = torch.ones(1, 1, height, width)
    lines[..., :: cell * scale, :] = 0
    lines[..., :, :: cell * scale] = 0
    large = torch.nn.functional.interpolate(
        deformation.movedim(-1, 1), (height, width), mode="bilinear", align_corners=False
    ).movedim(1, -1)
    drawn = sample(lines, (identity_grid(height, width) + large)[None])[0, 0]
    return (drawn * 255).round().to(torch.uint8)[..., None].expand(-1, -1, -1, 3).numpy()
