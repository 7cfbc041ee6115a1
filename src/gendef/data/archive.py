"""Reading a data archive: a zip with one folder of frames a clip."""

import hashlib
import json
import threading
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.data.prepare import FORMAT, FORMAT_VERSION
from gendef.data.sources import IMAGE_SUFFIXES, decode_image, natural_key, open_zip
from gendef.errors import DataError


class VideoArchive:
    """Clips of a data archive, or of a StyleGAN-V style zip of square frames.

    Attributes:
        path, resolution, clip_names, lengths (frames a clip), fps (a clip), sources (a clip), classes, labels.
        fingerprint: hash of all member names, sizes and checksums.

    Raises:
        DataError: not a zip, a member that would leave the folder, no frames, frames of other sizes, a newer format.
    """

    def __init__(self, path: str | Path, cache_bytes: int = 2**31) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"{self.path} is not a file; make a data archive with  gendef data prepare")
        self._zip: zipfile.ZipFile | None = None
        self._lock = threading.Lock()
        with open_zip(self.path) as archive:
            self._frames = _frames_by_clip(archive)
            if not self._frames:
                raise DataError(f"{self.path} holds no frames")
            meta = _read_metadata(archive, self.path)
            self.fingerprint = _fingerprint(archive)
        self.clip_names = sorted(self._frames, key=natural_key)
        self.lengths = [len(self._frames[name]) for name in self.clip_names]
        by_name = {clip["name"]: clip for clip in meta.get("clips", [])}
        self.fps = [float(by_name.get(name, {}).get("fps") or 25.0) for name in self.clip_names]
        self.sources = [str(by_name.get(name, {}).get("source", name)) for name in self.clip_names]
        self.metadata = meta
        self.classes: list[str] = meta.get("classes", [])
        self.labels = [by_name.get(name, {}).get("label") for name in self.clip_names] if self.classes else None
        self.resolution = self._decode(self._frames[self.clip_names[0]][0], None).shape[0]
        self._cache: list[np.ndarray | None] | None = None
        if self.num_frames * self.resolution**2 * 3 <= cache_bytes:
            self._cache = [None] * self.num_clips

    @property
    def num_clips(self) -> int:
        """Number of clips."""
        return len(self.clip_names)

    @property
    def num_frames(self) -> int:
        """Number of frames in all clips."""
        return sum(self.lengths)

    @property
    def num_classes(self) -> int:
        """Number of classes, 0 without labels."""
        return len(self.classes)

    def read_frames(self, clip: int, indices: list[int]) -> Tensor:
        """Frames `indices` of clip number `clip`, uint8 (T, 3, R, R)."""
        if self._cache is not None:
            cached = self._cache[clip]
            if cached is None:
                names = self._frames[self.clip_names[clip]]
                cached = np.stack([self._decode(name, self.resolution) for name in names])
                self._cache[clip] = cached
            frames = cached[indices]
        else:
            names = self._frames[self.clip_names[clip]]
            frames = np.stack([self._decode(names[index], self.resolution) for index in indices])
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    def _decode(self, name: str, resolution: int | None) -> np.ndarray:
        with self._lock:
            if self._zip is None:
                self._zip = open_zip(self.path)
            data = self._zip.read(name)
        frame = decode_image(data, f"{self.path}:{name}")
        height, width = frame.shape[:2]
        if height != width or (resolution is not None and height != resolution):
            raise DataError(
                f"{self.path}:{name} is {width}x{height} pixels; all frames must be squares of one size:"
                " run  gendef data prepare  on this archive"
            )
        return frame

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, so that a process can be handed the archive."""
        return {**self.__dict__, "_zip": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _frames_by_clip(archive: zipfile.ZipFile) -> dict[str, list[str]]:
    clips: dict[str, list[str]] = {}
    for name in archive.namelist():
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            clips.setdefault(str(path.parent), []).append(name)
    for names in clips.values():
        names.sort(key=natural_key)
    return clips


def _read_metadata(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if "dataset.json" not in archive.namelist():
        return {}
    try:
        meta = json.loads(archive.read("dataset.json"))
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: dataset.json is damaged: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        return {}  # StyleGAN-V zips carry a dataset.json of their own
    if meta.get("version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has data format {meta.get('version')}, this gendef reads {FORMAT_VERSION}; prepare it again"
        )
    return meta


def _fingerprint(archive: zipfile.ZipFile) -> str:
    digest = hashlib.sha256()
    for info in sorted(archive.infolist(), key=lambda item: item.filename):
        digest.update(f"{info.filename}\0{info.file_size}\0{info.CRC}\n".encode())
    return digest.hexdigest()
