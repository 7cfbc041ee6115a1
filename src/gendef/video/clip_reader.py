"""Reading saved clips; every file is checked before it is used."""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gendef.errors import ClipError, InputError
from gendef.media.images import over, read_image
from gendef.video.clip_format import (
    CANONICAL,
    FIELD,
    FORMAT,
    FORMAT_VERSION,
    FORMER_ILLUMINATION,
    LAYERED_VERSION,
    MAX_HEADER,
    MAX_META,
    META,
    VISIBILITY,
)
from gendef.video.illumination import checked_illumination


@dataclass
class StoredClip:
    """What a clip folder holds; `nodes`, the field, is mapped from the file, not read. `size` is that of the frames."""

    canonical: Tensor
    nodes: Tensor
    size: tuple[int, int]
    fps: float
    info: dict[str, Any]
    report: dict[str, Any]
    visibility: Tensor | None
    illumination: Tensor | None


def read_clip(folder: str | Path) -> StoredClip:
    """Read a saved clip. Sizes are checked before memory is allocated.

    Raises:
        ClipError: a file is missing or truncated, has another format or version, or an invalid value.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    if meta["version"] == LAYERED_VERSION:
        raise ClipError(
            f"{folder} has layers: load it with gendef.load_clip, or name one of them, such as {folder / 'layer00'}"
        )
    frames, height, width = meta["frames"], meta["height"], meta["width"]
    shape = (frames, *_node_counts(folder, meta), 2)
    expected = {"deformation": shape, "canonical": (3, meta["canonical_height"], meta["canonical_width"])}
    nodes, precise = _map_tensors(folder / FIELD, expected)
    try:
        image = read_image(folder / CANONICAL)
    except InputError as error:
        raise ClipError(str(error)) from error
    canonical = precise.clone() if _untouched(image, meta) else over(precise, image)
    visibility = read_visibility(folder / VISIBILITY, (frames, height, width))
    illumination = _read_illumination(folder, meta)
    info, report = dict(meta["made"]), dict(meta["report"])
    size = (height, width)
    return StoredClip(canonical, nodes, size, float(meta["fps"]), info, report, visibility, illumination)


def read_meta(folder: Path) -> dict[str, Any]:
    """Read and check `video.json` of a clip with or without layers.

    Raises:
        ClipError: the file is missing or damaged, has another format or version, or an invalid value.
    """
    path = folder / META
    if not path.is_file():
        raise ClipError(f"{folder} is not a saved clip: it has no {META}")
    try:
        with path.open("rb") as file:
            meta = json.loads(file.read(MAX_META))
    except (ValueError, RecursionError, OSError) as error:
        raise ClipError(f"{path} is damaged: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ClipError(f"{path} does not describe a gendef clip")
    if meta.get("version") not in (FORMAT_VERSION, LAYERED_VERSION):
        known = f"{FORMAT_VERSION} and {LAYERED_VERSION}"
        raise ClipError(f"{folder} has clip format {meta.get('version')}, this gendef reads {known}")
    layered = meta["version"] == LAYERED_VERSION
    for name in ("frames", "height", "width", *(() if layered else ("canonical_height", "canonical_width"))):
        value = meta.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**24:
            raise ClipError(f"{path}: {name} must be a positive integer, got {value!r}")
    fps = meta.get("fps")
    if not isinstance(fps, (int, float)) or not 0.01 <= fps <= 1000:
        raise ClipError(f"{path}: fps must be between 0.01 and 1000, got {fps!r}")
    for name in ("made", "report"):
        if not isinstance(meta.get(name), dict):
            raise ClipError(f"{path}: {name} must be a table")
    if not layered and not isinstance(meta.get("canonical_sha256"), str):
        raise ClipError(f"{path}: canonical_sha256 is missing")
    return meta


def read_visibility(path: Path, shape: tuple[int, int, int]) -> Tensor | None:
    """Read a visibility (T, H, W) bool; None if the file does not exist.

    Raises:
        ClipError: the file is damaged, or has another shape.
    """
    if not path.is_file():
        return None
    frames, pixels = shape[0], shape[1] * shape[2]
    expected = (frames, -(-pixels // 8))
    try:
        if path.stat().st_size > math.prod(expected) + MAX_HEADER:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        packed = load_file(path)["visibility"]
        if packed.dtype != torch.uint8 or tuple(packed.shape) != expected:
            raise ValueError(f"it is {packed.dtype} {list(packed.shape)}, {META} says uint8 {list(expected)}")
    except (KeyError, ValueError, SafetensorError, OSError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ClipError(f"{path} cannot be used: {reason}") from error
    bits = np.unpackbits(packed.numpy(), axis=1, count=pixels)
    return torch.from_numpy(bits).bool().view(shape)


def _node_counts(folder: Path, meta: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of the stored field: the pixels of the frames, or fewer nodes."""
    size, nodes = (meta["height"], meta["width"]), meta.get("nodes")
    if nodes is None:
        return size
    fits = isinstance(nodes, list) and len(nodes) == 2 and all(type(side) is int for side in nodes)
    if not fits or not all(1 <= side <= most for side, most in zip(nodes, size, strict=True)):
        raise ClipError(f"{folder / META}: nodes must be rows and columns, at most {size}, got {nodes!r}")
    return nodes[0], nodes[1]


def _read_illumination(folder: Path, meta: dict[str, Any]) -> Tensor | None:
    """The illumination (T, h, w, 3); None if the clip has none. Reads its former name too."""
    name = "illumination" if "illumination" in meta else FORMER_ILLUMINATION
    grid, path = meta.get(name), folder / f"{name}.safetensors"
    if grid is None:
        return None
    size = (meta["height"], meta["width"])
    fits = isinstance(grid, list) and len(grid) == 2 and all(type(side) is int for side in grid)
    if not fits or not all(1 <= side <= most for side, most in zip(grid, size, strict=True)):
        raise ClipError(f"{folder / META}: {name} must be height and width of a grid, at most {size}, got {grid!r}")
    values = _map_tensors(path, {name: (meta["frames"], *grid, 3)})[0].clone()
    try:
        return checked_illumination(values, (meta["frames"], *size))
    except InputError as error:
        raise ClipError(f"{path} cannot be used: {error}") from error


def _untouched(image: Image.Image, meta: dict[str, Any]) -> bool:
    """Whether the PNG has the pixels that were saved."""
    if image.mode != "RGB" or image.size != (meta["canonical_width"], meta["canonical_height"]):
        return False
    return bool(hashlib.sha256(np.asarray(image).tobytes()).hexdigest() == meta["canonical_sha256"])


def _map_tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> list[Tensor]:
    """Map float32 tensors of a safetensors file copy-on-write, after checking its header against the file size."""
    if not path.is_file():
        raise ClipError(f"{path} is missing")
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise ValueError(f"its header claims {length} bytes")
            header = json.loads(file.read(length))
            tensors = []
            for name, shape in expected.items():
                entry = header[name]
                begin, end = entry["data_offsets"]
                if entry["dtype"] != "F32" or tuple(entry["shape"]) != shape:
                    raise ValueError(f"{name} is {entry['dtype']} {entry['shape']}, {META} says F32 {list(shape)}")
                if begin < 0 or end - begin != 4 * math.prod(shape) or 8 + length + end > size:
                    raise ValueError(f"{name} does not fit into the file's {size} bytes")
                file.seek(8 + length + begin)
                _check_finite(file, math.prod(shape), name)
                values = np.memmap(path, "<f4", "c", offset=8 + length + begin, shape=shape)
                tensors.append(torch.from_numpy(values))
            return tensors
    except (KeyError, TypeError, ValueError, RecursionError, struct.error, OSError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ClipError(f"{path} cannot be used: {reason}") from error


def _check_finite(file: BinaryIO, count: int, name: str) -> None:
    """Check `count` float32 values in chunks. Reading them through the mapping would make the whole clip resident."""
    while count:
        values = np.frombuffer(file.read(4 * min(count, 2**22)), "<f4")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite")
        count -= len(values)
