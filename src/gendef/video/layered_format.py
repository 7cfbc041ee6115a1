"""The folder of a layered clip: `video.json` of version 2, `preview.mp4`, and a clip folder for each layer.

Each layer's folder is a clip of its own (`gendef.video.clip_format`), with the layer's alpha as grey
pictures in the subfolder `alpha`.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from gendef.errors import ClipError, InputError
from gendef.media.frame_times import checked_fps
from gendef.media.images import read_image, to_uint8
from gendef.media.video_writer import VideoWriter
from gendef.runtime.atomic_folder import replace_folder, temporary_beside
from gendef.video.clip_format import (
    ALPHA,
    FORMAT,
    LAYERED_VERSION,
    META,
    PREVIEW,
    VISIBILITY,
    check_replaceable,
)
from gendef.video.clip_reader import read_meta, read_visibility
from gendef.video.clip_writer import pack_visibility

MAX_LAYERS = 1000
"""Largest number of layers of a clip."""


@dataclass(frozen=True)
class StoredLayer:
    """The entry of a layer in `video.json`."""

    folder: Path
    name: str
    start: int
    has_alpha: bool
    still_alpha: bool


@dataclass(frozen=True)
class StoredLayers:
    """The contents of `video.json` of a layered clip, and its visibility."""

    layers: list[StoredLayer]
    fps: float
    info: dict[str, Any]
    report: dict[str, Any]
    visibility: Tensor | None


class LayeredWriter:
    """Writes the folder of a clip with layers; use as a context manager.

    The folder appears when the block ends well, and nothing is left behind when not.

    Args:
        folder: where to; an existing clip there is replaced.
        shape: frames, height and width.

    Attributes:
        visibility: (T, H, W) bool or None; may be set until the block ends.
    """

    def __init__(
        self, folder: str | Path, shape: tuple[int, int, int], fps: float, info: dict[str, Any], report: dict[str, Any]
    ) -> None:
        self.folder = Path(folder)
        check_replaceable(self.folder)
        self._shape, self._fps, self._info, self._report = shape, checked_fps(fps), info, report
        self._layers: list[dict[str, Any]] = []
        self.visibility: Tensor | None = None

    def __enter__(self) -> "LayeredWriter":
        self._temporary = temporary_beside(self.folder)
        self._video = VideoWriter(self._temporary / PREVIEW, self._fps)
        return self

    def add_layer(self, save: Callable[[Path], None], alpha: Tensor | None, start: int, name: str) -> None:
        """Add a layer: `save` writes its clip folder; alpha is (n, H, W) uint8 or None.

        An alpha that is one picture expanded to n (stride 0) is written once.
        """
        folder = self._temporary / layer_name(len(self._layers))
        save(folder)
        entry = {"name": name, "start": start, "alpha": alpha is not None}
        if alpha is not None:
            (folder / ALPHA).mkdir()
            if len(alpha) > 1 and alpha.stride(0) == 0:
                alpha, entry["still_alpha"] = alpha[:1], True
            for number, picture in enumerate(alpha.numpy()):
                Image.fromarray(picture).save(folder / ALPHA / f"{number:05d}.png")
        self._layers.append(entry)

    def append(self, frames: Tensor) -> None:
        """Add rendered frames (n, 3, H, W) to the preview."""
        for frame in to_uint8(frames):
            self._video.append(frame)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self._video.close()
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _finish(self) -> None:
        if self.visibility is not None:
            save_file({"visibility": pack_visibility(self.visibility)}, self._temporary / VISIBILITY)
        meta = {
            "format": FORMAT,
            "version": LAYERED_VERSION,
            "frames": self._shape[0],
            "height": self._shape[1],
            "width": self._shape[2],
            "fps": self._fps,
            "layers": self._layers,
            "made": self._info,
            "report": self._report,
        }
        (self._temporary / META).write_text(json.dumps(meta, indent=1))
        replace_folder(self._temporary, self.folder)


def layer_name(number: int) -> str:
    """Name of a layer's folder."""
    return f"layer{number:02d}"


def read_layers(folder: str | Path) -> StoredLayers:
    """The layers of a saved clip, from the back to the front.

    Raises:
        ClipError: a file is missing or damaged, or the clip has no layers.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    if meta["version"] != LAYERED_VERSION:
        raise ClipError(f"{folder} is a clip without layers: load it with gendef.load_clip")
    entries = meta.get("layers")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_LAYERS:
        raise ClipError(f"{folder / META}: layers must be a list of 1 to {MAX_LAYERS}")
    layers, last = [], 0
    for number, entry in enumerate(entries):
        path = folder / layer_name(number)
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ClipError(f"{folder / META}: layer {number} has no name")
        start = entry.get("start")
        if not isinstance(start, int) or isinstance(start, bool) or not 0 <= start <= 2**24:
            raise ClipError(f"{folder / META}: layer {number} begins at {start!r}, which is not a frame number")
        inner = read_meta(path)
        if (inner["height"], inner["width"]) != (meta["height"], meta["width"]):
            raise ClipError(f"{path} has frames of another size than {folder}")
        last = max(last, start + inner["frames"])
        layers.append(StoredLayer(path, entry["name"], start, bool(entry.get("alpha")), bool(entry.get("still_alpha"))))
    if last != meta["frames"]:
        raise ClipError(f"the layers of {folder} end at frame {last}, {META} says {meta['frames']}")
    visibility = read_visibility(folder / VISIBILITY, (meta["frames"], meta["height"], meta["width"]))
    return StoredLayers(layers, float(meta["fps"]), dict(meta["made"]), dict(meta["report"]), visibility)


def read_alpha(folder: Path, shape: tuple[int, int, int], *, still: bool = False) -> Tensor:
    """The alpha of a layer, (n, H, W) uint8; edited pictures must keep their size.

    Args:
        folder: of the layer.
        shape: n, H and W.
        still: one picture serves for all frames.

    Raises:
        ClipError: a picture is missing, damaged or of another size.
    """
    if still:
        return read_alpha(folder, (1, *shape[1:])).expand(shape)
    alpha = torch.empty(shape, dtype=torch.uint8)
    for number in range(shape[0]):
        path = folder / ALPHA / f"{number:05d}.png"
        try:
            picture = read_image(path)
        except InputError as error:
            raise ClipError(str(error)) from error
        if picture.size != (shape[2], shape[1]):
            raise ClipError(f"{path} is {picture.width}x{picture.height}, the layer has {shape[2]}x{shape[1]} pixels")
        alpha[number] = torch.from_numpy(np.array(picture.convert("L")))
    return alpha
