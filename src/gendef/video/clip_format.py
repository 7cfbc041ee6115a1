"""The saved clip: `canonical.png`, `deformation.safetensors`, `video.json` and `preview.mp4` in one folder.

Clips that know where their canonical image explains the frames have `visibility.safetensors` too, one bit a pixel, and
clips whose light changes `illumination.safetensors`.

The safetensors file holds the field and the canonical image in full precision. `canonical.png` is for people: if its
pixels are what they were when the clip was saved, the precise image is used, and if somebody edited it, the PNG is.
"""

import hashlib
import json
import math
import os
import re
import shutil
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gendef.errors import ClipError, InputError
from gendef.media.frame_times import checked_fps
from gendef.media.images import over, read_image, to_uint8
from gendef.media.video_writer import VideoWriter
from gendef.video.illumination import checked_illumination

FORMAT, FORMAT_VERSION, LAYERED_VERSION = "gendef-clip", 1, 2
CANONICAL, FIELD, META, PREVIEW = "canonical.png", "deformation.safetensors", "video.json", "preview.mp4"
VISIBILITY, ILLUMINATION = "visibility.safetensors", "illumination.safetensors"
FORMER_ILLUMINATION = "residual"
"""Name of the illumination in `video.json`, of its file and of its tensor in clips saved before it was renamed."""
FILES = {CANONICAL, FIELD, META, PREVIEW, VISIBILITY, ILLUMINATION, f"{FORMER_ILLUMINATION}.safetensors"}
ALPHA = "alpha"
"""Folder of a layer's pictures of its alpha."""
LAYER_NAME, ALPHA_NAME = re.compile(r"layer\d{2,}"), re.compile(r"\d{5,}\.png")
COORDINATES = "offsets to normalised canonical coordinates, x then y, -1 and 1 at the outer edges (align_corners=False)"
MAX_HEADER = 2**20
"""Bytes of a safetensors header that are read; two tensors need 200."""
LARGE = 2**22
"""Values of a canonical image from which on its PNG is compressed fast rather than small."""
MAX_META = 2**26
"""Bytes of video.json that are read; a million times of slow motion fit."""


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


class ClipWriter:
    """Writes a clip folder in a stream: memory does not grow with the number of frames.

    Use as a context manager; the folder appears when the block ends well, and nothing is left behind when not.

    Args:
        folder: where to; an existing clip there is replaced.
        canonical: (3, Hc, Wc) in [-1, 1].
        shape: (T, H, W) of the frames to come.
        visibility: (T, H, W) bool, where the canonical image explains the frames; None if that is not known.
        illumination: (T, h, w, 3), the light of each frame; None if it does not change. See `gendef.CanonicalVideo`.
        nodes: rows and columns of the field to come, where it has fewer than pixels. See `gendef.CanonicalVideo`.
    """

    def __init__(
        self,
        folder: str | Path,
        canonical: Tensor,
        shape: tuple[int, int, int],
        fps: float,
        info: dict[str, Any],
        report: dict[str, Any],
        visibility: Tensor | None = None,
        illumination: Tensor | None = None,
        nodes: tuple[int, int] | None = None,
    ) -> None:
        self.folder = Path(folder)
        check_replaceable(self.folder)
        self.canonical, self.shape, self.fps, self.info, self.report = canonical, shape, checked_fps(fps), info, report
        self.visibility, self.illumination, self.nodes = visibility, illumination, nodes
        self._video: VideoWriter | None = None
        self._written = 0

    def __enter__(self) -> "ClipWriter":
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()
        pixels = to_uint8(self.canonical)
        Image.fromarray(pixels).save(self._temporary / CANONICAL, compress_level=1 if pixels.size > LARGE else 6)
        self._digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        self._file = open(self._temporary / FIELD, "wb")
        self._file.write(self._header())
        return self

    def _header(self) -> bytes:
        image_bytes = self.canonical.numel() * 4
        shape = [self.shape[0], *(self.nodes or self.shape[1:]), 2]
        field_bytes = math.prod(shape) * 4
        header = {
            "deformation": {"dtype": "F32", "shape": shape, "data_offsets": [0, field_bytes]},
            "canonical": {
                "dtype": "F32",
                "shape": list(self.canonical.shape),
                "data_offsets": [field_bytes, field_bytes + image_bytes],
            },
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text

    def append(self, deformation: Tensor, frames: Tensor | None) -> None:
        """Add fields (n, H, W, 2) and their rendered frames (n, 3, H, W); without frames there is no preview."""
        self._file.write(np.ascontiguousarray(deformation.detach().cpu().float().numpy(), "<f4").data)
        if frames is not None:
            self._video = self._video or VideoWriter(self._temporary / PREVIEW, self.fps)
            for frame in to_uint8(frames):
                self._video.append(frame)
        self._written += len(deformation)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if self._video is not None:
                self._video.close()
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _finish(self) -> None:
        if self._written != self.shape[0]:
            raise InputError(f"{self._written} frames were written, {self.shape[0]} announced")
        self._file.write(np.ascontiguousarray(self.canonical.detach().cpu().float().numpy(), "<f4").data)
        self._file.flush()
        self._file.close()
        if self.visibility is not None:
            save_file({"visibility": pack_visibility(self.visibility)}, self._temporary / VISIBILITY)
        if self.illumination is not None:
            save_file({"illumination": self.illumination.contiguous()}, self._temporary / ILLUMINATION)
        meta = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "frames": self.shape[0],
            "height": self.shape[1],
            "width": self.shape[2],
            "canonical_height": self.canonical.shape[1],
            "canonical_width": self.canonical.shape[2],
            "canonical_sha256": self._digest,
            "fps": self.fps,
            "coordinates": COORDINATES,
            "illumination": None if self.illumination is None else list(self.illumination.shape[1:3]),
            "made": self.info,
            "report": self.report,
        }
        if self.nodes is not None:
            meta["nodes"] = list(self.nodes)
        (self._temporary / META).write_text(json.dumps(meta, indent=1))
        replace_folder(self._temporary, self.folder)


def check_replaceable(folder: Path) -> None:
    """Make sure that a folder, if there is one, holds nothing but a clip, with or without layers.

    It is replaced as a whole, so nobody's notes or edits may be in it; hidden files are the system's.

    Raises:
        InputError: it does, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder")
    for path in folder.glob("[!.]*"):
        if LAYER_NAME.fullmatch(path.name) and path.is_dir():
            others = [inner.name for inner in path.glob("[!.]*") if inner.name not in FILES | {ALPHA}]
            others += [inner.name for inner in (path / ALPHA).glob("[!.]*") if not ALPHA_NAME.fullmatch(inner.name)]
        else:
            others = [] if path.name in FILES else [path.name]
        if others:
            raise InputError(f"{folder} holds something else than a clip ({others[0]}): choose another folder")


def replace_folder(new: Path, target: Path) -> None:
    """Move a finished folder to its place; what was there vanishes only when that has worked."""
    if not target.exists():
        new.rename(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)


def read_clip(folder: str | Path) -> StoredClip:
    """A saved clip; everything is checked before memory is spent.

    Raises:
        ClipError: a file is missing, truncated, of another format or version, or holds impossible values.
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


def pack_visibility(visibility: Tensor) -> Tensor:
    """(T, H, W) bool -> uint8 (T, bytes), one bit a pixel, row by row."""
    return torch.from_numpy(np.packbits(visibility.cpu().numpy().reshape(len(visibility), -1), axis=1))


def read_visibility(path: Path, shape: tuple[int, int, int]) -> Tensor | None:
    """The visibility (T, H, W) bool that a file holds; None if there is none.

    Raises:
        ClipError: it is damaged, or of another shape.
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


def _untouched(image: Image.Image, meta: dict[str, Any]) -> bool:
    """Whether the PNG has the pixels that were saved."""
    if image.mode != "RGB" or image.size != (meta["canonical_width"], meta["canonical_height"]):
        return False
    return bool(hashlib.sha256(np.asarray(image).tobytes()).hexdigest() == meta["canonical_sha256"])


def read_meta(folder: Path) -> dict[str, Any]:
    """The checked contents of `video.json`, of a clip with or without layers.

    Raises:
        ClipError: missing, damaged, of another format or version, or holding impossible values.
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
            raise ClipError(f"{path}: {name} must be a positive whole number, got {value!r}")
    fps = meta.get("fps")
    if not isinstance(fps, (int, float)) or not 0.01 <= fps <= 1000:
        raise ClipError(f"{path}: fps must be between 0.01 and 1000, got {fps!r}")
    for name in ("made", "report"):
        if not isinstance(meta.get(name), dict):
            raise ClipError(f"{path}: {name} must be a table")
    if not layered and not isinstance(meta.get("canonical_sha256"), str):
        raise ClipError(f"{path}: canonical_sha256 is missing")
    return meta


def _map_tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> list[Tensor]:
    """Tensors of a safetensors file, mapped copy-on-write, after its header has been held against the file's size."""
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
    """Read `count` float32 values in pieces; through the mapping, a long clip would all count as resident memory."""
    while count:
        values = np.frombuffer(file.read(4 * min(count, 2**22)), "<f4")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite")
        count -= len(values)


def write_clip(
    folder: str | Path,
    canonical: Tensor,
    shape: tuple[int, int, int],
    chunks: Iterable[tuple[Tensor, Tensor | None]],
    fps: float,
    info: dict[str, Any],
    report: dict[str, Any],
    visibility: Tensor | None = None,
    illumination: Tensor | None = None,
    nodes: tuple[int, int] | None = None,
) -> None:
    """Write a clip folder from chunks of fields (n, H, W, 2) and rendered frames (n, 3, H, W); see `ClipWriter`."""
    with ClipWriter(folder, canonical, shape, fps, info, report, visibility, illumination, nodes) as writer:
        for deformation, frames in chunks:
            writer.append(deformation, frames)
