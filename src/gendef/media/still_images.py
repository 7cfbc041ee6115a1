"""Encoded pictures to uint8 RGB and alpha: what Pillow reads, DPX by libav, and OpenEXR by the package OpenEXR."""

import io
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from gendef.errors import DataError, GendefError
from gendef.media.exr import read_exr, srgb_encoded

FILM_SUFFIXES = frozenset({".dpx", ".exr"})
"""Pictures of compositing programs, which Pillow does not read."""


def decode_image(data: bytes, name: str) -> np.ndarray:
    """An encoded image as uint8 RGB (H, W, 3), turned upright, transparency on black.

    Raises:
        DataError: the bytes are no image, are truncated, or the image is unreasonably large.
        MissingDependencyError: it is an EXR file, and OpenEXR is not installed.
    """
    image, alpha = decode_rgba(data, name)
    return image if alpha is None else on_black(image, alpha)


def on_black(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 as it looks over black; alpha (H, W) uint8. The rule wherever alpha cannot be kept."""
    return np.asarray((image.astype(np.uint16) * alpha[..., None] + 127) // 255, np.uint8)


def decode_rgba(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """An encoded image as uint8 RGB (H, W, 3), upright, and its alpha (H, W) where any pixel is not opaque.

    EXR is linear light and is encoded as sRGB; 16 bits keep their upper 8.

    Raises:
        DataError: the bytes are no image, are truncated, or the image is unreasonably large.
        MissingDependencyError: it is an EXR file, and OpenEXR is not installed.
    """
    suffix = PurePosixPath(name).suffix.lower()
    try:
        if suffix == ".exr":
            return _from_exr(data, name)
        if suffix == ".dpx":
            return _from_libav(data, name), None
        with Image.open(io.BytesIO(data)) as opened:
            return _from_pillow(opened)
    except GendefError:
        raise
    except Exception as error:
        # On hostile bytes Pillow's decoders raise nearly anything (struct.error, IndexError, SyntaxError, ...).
        raise DataError(f"{name} is not a readable image: {error}") from error


def _from_pillow(opened: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    image: Image.Image = opened
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips instead of scaling
        grey = (np.asarray(image, np.float32) / 257).clip(0, 255).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2), None
    if image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = rgba[..., 3]
        return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(alpha) if alpha.min() < 255 else None
    return np.asarray(image.convert("RGB")), None


def _from_exr(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    layers = read_exr(io.BytesIO(data), name)
    missing = {"R", "G", "B"} - set(layers)
    if missing:
        raise DataError(f"{name} has no channel {sorted(missing)[0]}; it has {', '.join(sorted(layers))}")
    linear = np.stack([layers[channel] for channel in "RGB"], axis=-1)
    image = (srgb_encoded(linear) * 255).round().clip(0, 255).astype(np.uint8)
    if "A" not in layers:
        return image, None
    alpha = (layers["A"] * 255).round().clip(0, 255).astype(np.uint8)
    return image, alpha if alpha.min() < 255 else None


def _from_libav(data: bytes, name: str) -> np.ndarray:
    import av

    frame: Any = None
    with av.open(io.BytesIO(data), format="dpx_pipe") as container:
        frame = next(container.decode(video=0), None)
    if frame is None:
        raise DataError(f"{name} holds no picture")
    return np.asarray(frame.to_ndarray(format="rgb24"))
