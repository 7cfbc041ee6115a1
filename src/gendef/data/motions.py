"""Motion data: a safetensors file of motion windows, each an image and the fields of the frames around it.

| tensor | shape | what |
|---|---|---|
| fields | (N, K, G, G, 2) float16 | offset of each place of a frame to its place in the reference frame, normalised |
| visible | (N, K, G, G) uint8 | share of each place, of 255, that the reference frame shows too |
| images | (N, 3, S, S) uint8 | the reference frame, squeezed to a square |
| source | (N,) int32 | number of the video |
| start, span | (N,) int32 | first frame of the window in its video, and frames that it spans |
| psnr, still_psnr | (N,) float32 | of the frames made from the reference frame by its fields, and by no motion, in dB |
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from gendef.errors import DataError
from gendef.runtime.atomic_file import replacing

FORMAT, VERSION = "gendef-motions", 1
TENSORS = ("fields", "visible", "images", "source", "start", "span", "psnr", "still_psnr")


@dataclass(frozen=True)
class MotionSet:
    """Motion windows of some videos; see the module for shapes and units.

    Attributes:
        sources: for every video its name, label, frames a second, and how many windows were kept and left out.
        key_times: K times in frames from the reference frame; a window that spans fewer frames is stretched to them.
        settings: how the windows were made.
    """

    fields: Tensor
    visible: Tensor
    images: Tensor
    source: Tensor
    start: Tensor
    span: Tensor
    psnr: Tensor
    still_psnr: Tensor
    sources: tuple[dict[str, Any], ...]
    key_times: tuple[float, ...]
    settings: dict[str, Any]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.fields)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted({source["label"] for source in self.sources}))

    def chosen(self, windows: Tensor) -> "MotionSet":
        """The windows whose numbers are given; the list of sources stays."""
        values = {name: getattr(self, name)[windows] for name in TENSORS}
        return MotionSet(**values, sources=self.sources, key_times=self.key_times, settings=self.settings)

    def save(self, path: Path) -> None:
        """Write the file."""
        about = {
            "format": FORMAT,
            "version": str(VERSION),
            "sources": json.dumps(self.sources),
            "key_times": json.dumps(self.key_times),
            "settings": json.dumps(self.settings),
        }
        with replacing(path) as temporary:
            # Through bytes: save_file makes files that only their owner can read.
            temporary.write_bytes(serialize({name: getattr(self, name).contiguous() for name in TENSORS}, about))

    @classmethod
    def load(cls, path: Path) -> "MotionSet":
        """Read a file.

        Raises:
            DataError: it is missing, damaged, or no motion data.
        """
        if not path.is_file():
            raise DataError(f"{path} does not exist; make it with  gendef data motions VIDEO... --out {path}")
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                if about.get("format") != FORMAT:
                    raise DataError(f"{path} is no motion data; make it with  gendef data motions")
                if about.get("version") != str(VERSION):
                    raise DataError(
                        f"{path} has version {about.get('version')}, this gendef reads {VERSION}: make it anew"
                    )
                values = {name: file.get_tensor(name) for name in TENSORS}
            sources = tuple(json.loads(about["sources"]))
            times = tuple(float(time) for time in json.loads(about["key_times"]))
            loaded = cls(**values, sources=sources, key_times=times, settings=json.loads(about["settings"]))
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path} cannot be read as motion data: {error}") from error
        _check(loaded, path)
        return loaded


def joined(sets: Sequence[MotionSet]) -> MotionSet:
    """All windows of several sets.

    Raises:
        DataError: there is none, or key times or sizes differ.
    """
    if not sets:
        raise DataError("no motion data was given")
    first = sets[0]
    offset = 0
    numbers: list[Tensor] = []
    sources: list[dict[str, Any]] = []
    for one in sets:
        if one.key_times != first.key_times or one.fields.shape[1:] != first.fields.shape[1:]:
            raise DataError("the motion data have different key times or grids: make them with the same settings")
        numbers.append(one.source + offset)
        offset += len(one.sources)
        sources += one.sources
    values = {name: torch.cat([getattr(one, name) for one in sets]) for name in TENSORS if name != "source"}
    return MotionSet(
        **values, source=torch.cat(numbers), sources=tuple(sources), key_times=first.key_times, settings=first.settings
    )


def _check(loaded: MotionSet, path: Path) -> None:
    count, times, grid = loaded.fields.shape[:3] if loaded.fields.ndim == 5 else (0, 0, 0)
    side = loaded.images.shape[-1]
    right = {
        "fields": (count, times, grid, grid, 2),
        "visible": (count, times, grid, grid),
        "images": (count, 3, side, side),
    }
    for name in TENSORS:
        found, expected = tuple(getattr(loaded, name).shape), right.get(name, (count,))
        if found != expected:
            raise DataError(f"{path} is damaged: {name} has shape {found}, expected {expected}")
    if times != len(loaded.key_times) or (count and int(loaded.source.max()) >= len(loaded.sources)):
        raise DataError(f"{path} is damaged: its tensors and its list of times or sources do not belong together")
