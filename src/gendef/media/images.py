"""Images in and out of the program's border: PIL images, arrays and tensors to float32 (3, H, W) in [-1, 1]."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gendef.errors import InputError

MAX_PIXELS = 2**27
"""Images beyond this are refused before they are decoded."""


def to_image_tensor(image: Any) -> Tensor:
    """Any image as float32 (3, H, W) in [-1, 1]; see `to_rgba_tensor` for what is accepted."""
    return to_rgba_tensor(image)[0]


def to_rgba_tensor(image: Any) -> tuple[Tensor, Tensor | None]:
    """Any image as float32 (3, H, W) in [-1, 1], and its alpha (1, H, W) in [0, 1] where it has one.

    Args:
        image: a PIL image; a uint8 array or tensor (H, W), (H, W, 3) or (H, W, 4); or a floating array or tensor
            (3, H, W) or (H, W, 3) with values in [-1, 1].

    Raises:
        InputError: of another shape, another type, or with values out of range.
    """
    if isinstance(image, Image.Image):
        if image.mode not in ("RGB", "RGBA", "L"):
            image = image.convert("RGBA" if "transparency" in image.info or "A" in image.mode else "RGB")
        image = np.asarray(image)
    value = image.detach().cpu() if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    shape = tuple(value.shape)
    if value.dtype == torch.uint8:
        if value.ndim == 2:
            value = value[..., None].expand(-1, -1, 3)
        if value.ndim == 3 and value.shape[0] == 3 and value.shape[2] not in (3, 4):
            value = value.movedim(0, 2)
        if value.ndim != 3 or value.shape[2] not in (3, 4):
            raise InputError(f"an 8-bit image must be (H, W), (H, W, 3) or (H, W, 4), got shape {shape}")
        value = value.movedim(2, 0).float()
        alpha = value[3:] / 255 if value.shape[0] == 4 else None
        return value[:3] / 127.5 - 1, alpha
    if not value.is_floating_point():
        raise InputError(f"an image must be uint8, or floating in [-1, 1], got {value.dtype}")
    if value.ndim == 3 and value.shape[0] != 3 and value.shape[2] == 3:
        value = value.movedim(2, 0)
    if value.ndim != 3 or value.shape[0] != 3:
        raise InputError(f"a floating image must be (3, H, W) or (H, W, 3), got shape {shape}")
    value = value.float()
    if not torch.isfinite(value).all():
        raise InputError("the image holds values that are not finite")
    return value.contiguous(), None


def read_image(path: str | Path) -> Image.Image:
    """An image file.

    Raises:
        InputError: missing, not an image, damaged, or unreasonably large.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path} is {image.width}x{image.height}: more than {MAX_PIXELS} pixels")
            image.load()
            return image
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a readable image: {error}") from error
