"""Images in and out of the program's border: PIL images, arrays and tensors to float32 (3, H, W) in [-1, 1]."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from gendef.errors import DataError, InputError
from gendef.media.still_images import FILM_SUFFIXES, decode_rgba
from gendef.runtime.atomic_file import replacing

MAX_PIXELS = 2**27
"""Images beyond this are refused before they are decoded."""
LARGEST_VALUE = 32.0
"""Floating images may leave [-1, 1], as generated ones do, but not by so much that another unit was meant."""


def to_image_tensor(image: Any) -> Tensor:
    """Any image as float32 (3, H, W) in [-1, 1]; see `to_rgba_tensor` for what is accepted."""
    return to_rgba_tensor(image)[0]


def to_rgba_tensor(image: Any) -> tuple[Tensor, Tensor | None]:
    """Any image as float32 (3, H, W) in [-1, 1], and its alpha (1, H, W) in [0, 1] where it has one.

    Args:
        image: a PIL image; a uint8 array or tensor (H, W), (H, W, 3) or (H, W, 4), also with the channels first; or
            a floating array or tensor (3, H, W) or (H, W, 3) with values in [-1, 1].

    Raises:
        InputError: of another shape, another type, or with values out of range.
    """
    if isinstance(image, Image.Image):
        image = np.asarray(_eight_bit(image))
    try:
        value = image.detach().cpu() if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    except TypeError:
        raise InputError(f"an image must be a PIL image, an array or a tensor, got {type(image).__name__}") from None
    if value.numel() == 0:
        raise InputError(f"the image is empty: shape {tuple(value.shape)}")
    if value.dtype == torch.uint8:
        return _from_bytes(value)
    if value.is_floating_point():
        return _from_floats(value), None
    raise InputError(f"an image must be uint8, or floating in [-1, 1], got {value.dtype}")


def over(below: Tensor, image: Any) -> Tensor:
    """An image put over `below` (3, H, W) with its alpha, at the size of the larger of the two; (3, H', W').

    An image without alpha simply takes the place of `below`, at its own size.
    """
    colour, alpha = to_rgba_tensor(image)
    if alpha is None:
        return colour
    if colour.shape[1] * colour.shape[2] < below.shape[1] * below.shape[2]:
        # Colours weigh by their alpha, or what is transparent would bleed into the rim.
        layers = resized(torch.cat((colour * alpha, alpha)), below.shape[1:])
        alpha = layers[3:].clamp(0, 1)
        return layers[:3] + (1 - alpha) * below
    return alpha * colour + (1 - alpha) * resized(below, colour.shape[1:])


def resized(image: Tensor, size: Sequence[int]) -> Tensor:
    """An image (C, H, W) at another height and width, without aliasing."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    return F.interpolate(image[None], (size[0], size[1]), mode="bilinear", align_corners=False, antialias=True)[0]


def _from_bytes(value: Tensor) -> tuple[Tensor, Tensor | None]:
    shape = tuple(value.shape)
    if value.ndim == 2:
        value = value[..., None].expand(-1, -1, 3)
    if value.ndim == 3 and shape[0] in (3, 4) and shape[2] not in (3, 4):
        value = value.movedim(0, 2)
    if value.ndim != 3 or value.shape[2] not in (3, 4):
        raise InputError(f"an 8-bit image must be (H, W), (H, W, 3) or (H, W, 4), got shape {shape}")
    value = value.movedim(2, 0).float()
    alpha = value[3:] / 255 if value.shape[0] == 4 else None
    return value[:3] / 127.5 - 1, alpha


def _from_floats(value: Tensor) -> Tensor:
    shape = tuple(value.shape)
    if value.ndim == 3 and value.shape[0] != 3 and value.shape[2] == 3:
        value = value.movedim(2, 0)
    if value.ndim != 3 or value.shape[0] != 3:
        raise InputError(f"a floating image must be (3, H, W) or (H, W, 3), got shape {shape}")
    value = value.float()
    if not torch.isfinite(value).all():
        raise InputError("the image holds values that are not finite")
    largest = float(value.abs().max())
    if largest > LARGEST_VALUE:
        raise InputError(f"a floating image has values in [-1, 1], got up to {largest:g}: give 0 to 255 as uint8")
    return value.contiguous()


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image as L, RGB or RGBA; pictures of 16 bits keep their upper ones."""
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    transparent = "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBa")
    return image.convert("RGBA" if transparent else "RGB")


def _read_film_image(path: Path) -> Image.Image:
    """An EXR or DPX file as 8 bits."""
    try:
        image, alpha = decode_rgba(path.read_bytes(), path.name)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except DataError as error:
        raise InputError(str(error)) from error
    return Image.fromarray(image if alpha is None else np.dstack((image, alpha)))


def read_image(path: str | Path) -> Image.Image:
    """An image file, turned upright where the camera noted how it was held.

    Raises:
        InputError: missing, not an image, damaged, or unreasonably large.
    """
    path = Path(path)
    if path.suffix.lower() in FILM_SUFFIXES:
        return _read_film_image(path)
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path} is {image.width}x{image.height}: more than {MAX_PIXELS} pixels")
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a readable image: {error}") from error


def to_uint8(frames: Tensor) -> np.ndarray:
    """Frames (..., 3, H, W) in [-1, 1] -> uint8 (..., H, W, 3)."""
    # In place: the frames of a large video are many, and each copy costs as much as what is computed.
    scaled = frames.detach().float().clamp(-1, 1).add_(1).mul_(127.5)
    return scaled.round_().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write uint8 (H, W, 3) as PNG or JPEG, by the suffix."""
    with replacing(Path(path)) as temporary:
        Image.fromarray(image).save(temporary)
