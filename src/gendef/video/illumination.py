"""Illumination: a smooth change of brightness per frame, separate from the canonical image.

It is a gain on a coarse grid. It applies to edits of the canonical image too, and black stays black.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.errors import InputError

DARKEST = -1.0
"""Change that leaves no light; below it, brightness would be negative."""


def checked_illumination(illumination: Any, field: Sequence[int]) -> Tensor | None:
    """An illumination as a float32 tensor (T, h, w, 3); None stays None.

    Args:
        field: T, H and W of the deformation field; the grid must not be finer.

    Raises:
        InputError: of another type or shape, not finite, or darker than black.
    """
    if illumination is None:
        return None
    value = (
        illumination.detach().cpu() if isinstance(illumination, Tensor) else torch.from_numpy(np.asarray(illumination))
    )
    shape = tuple(value.shape)
    fits = value.ndim == 4 and shape[0] == field[0] and shape[3] == 3 and value.is_floating_point()
    if not fits or not (1 <= shape[1] <= field[1] and 1 <= shape[2] <= field[2]):
        frames, height, width = field
        raise InputError(
            f"an illumination must be floating ({frames}, h, w, 3) with h at most {height} and w at most {width}, "
            f"got {value.dtype} {shape}"
        )
    value = value.float()
    if not torch.isfinite(value).all() or float(value.min()) < DARKEST:
        raise InputError(f"an illumination must be finite and at least {DARKEST:g}, got {float(value.min())}")
    return value


def gain(illumination: Tensor, size: Sequence[int]) -> Tensor:
    """The relative change of brightness at every pixel: (n, h, w, 3) -> (n, 3, H, W).

    Values lie at the centres of the grid's cells, are interpolated bilinearly, and are constant outside.
    """
    return F.interpolate(illumination.movedim(-1, 1), (size[0], size[1]), mode="bilinear", align_corners=False)


def lit(frames: Tensor, illumination: Tensor) -> Tensor:
    """Apply an illumination (n, h, w, 3) to frames (n, 3, H, W); an illumination of zeros changes no bit.

    Brightness, (value + 1) / 2, is multiplied by 1 + illumination.
    """
    return frames + gain(illumination, frames.shape[2:]) * (frames + 1)


def unlit(frames: Tensor, illumination: Tensor) -> Tensor:
    """The inverse of `lit`, for illuminations above -1."""
    return (frames + 1) / (1 + gain(illumination, frames.shape[2:])) - 1
