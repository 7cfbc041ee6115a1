"""OpenEXR files: float32 channels in and out, through the package OpenEXR (extra `vfx`)."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gendef.errors import DataError, InputError, MissingDependencyError
from gendef.runtime.atomic_file import replacing


def _openexr() -> Any:
    try:
        import OpenEXR
    except ImportError as error:
        raise MissingDependencyError("OpenEXR", "vfx", "to read and write EXR files") from error
    return OpenEXR


def read_exr(file: str | Path | io.BytesIO, name: str = "") -> dict[str, np.ndarray]:
    """The channels of an EXR file's first part, float32 (H, W) each, by name.

    Where the data window is not the display window, the pixels of the display window are given, 0 where there are none.

    Raises:
        DataError: it is no EXR file, or is damaged.
        MissingDependencyError: OpenEXR is not installed.
    """
    exr = _openexr()
    place = name or str(file)
    try:
        with exr.File(str(file) if isinstance(file, str | Path) else file, separate_channels=True) as opened:
            header, channels = opened.header(), opened.channels()
            pixels = {key: np.asarray(channel.pixels, np.float32) for key, channel in channels.items()}
            (left, top), _ = header["dataWindow"]
            (x0, y0), (x1, y1) = header["displayWindow"]
    except MissingDependencyError:
        raise
    except Exception as error:  # the binding raises RuntimeError, ValueError or TypeError by kind of damage
        raise DataError(f"{place} is not a readable EXR file: {error}") from error
    size = (int(y1 - y0 + 1), int(x1 - x0 + 1))
    return {key: _placed(value, int(top - y0), int(left - x0), size) for key, value in pixels.items()}


def _placed(values: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """Pixels of a data window that begins at (top, left), cut or filled to the display window."""
    if (top, left) == (0, 0) and values.shape == size:
        return values
    whole = np.zeros(size, np.float32)
    rows = slice(max(top, 0), min(top + values.shape[0], size[0]))
    columns = slice(max(left, 0), min(left + values.shape[1], size[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        whole[rows, columns] = values[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return whole


def write_exr(
    path: str | Path, channels: Mapping[str, np.ndarray], attributes: Mapping[str, Any] | None = None
) -> None:
    """Write float32 channels as one scan-line EXR file with lossless ZIP compression.

    Args:
        channels: (H, W) each, by name: R, G, B, A, Z, or with a layer before it, such as "stmap.R".
        attributes: texts and numbers for the header.

    Raises:
        InputError: there are no channels, or they differ in shape.
        MissingDependencyError: OpenEXR is not installed.
    """
    shapes = {value.shape for value in channels.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise InputError(f"the channels of an EXR file must all be (H, W), got {sorted(shapes)}")
    exr = _openexr()
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage, **(attributes or {})}
    pixels = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in channels.items()}
    with replacing(Path(path)) as temporary, exr.File(header, pixels) as file:
        file.write(str(temporary))


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    """Linear light as sRGB values (IEC 61966-2-1); below 0 becomes 0."""
    light = np.maximum(linear, 0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def srgb_decoded(encoded: np.ndarray) -> np.ndarray:
    """sRGB values as linear light (IEC 61966-2-1)."""
    value = np.maximum(encoded, 0)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
