"""Reading a data archive: a zip with one folder of frames per clip."""

import hashlib
import logging
import os
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.data.stylegan_archive import holds_single_images, read_labels
from gendef.errors import DataError, InputError
from gendef.media.still_images import decode_image
from gendef.media.zips import (
    DEFAULT_FPS,
    frames_by_clip,
    open_zip,
    read_member,
    read_metadata,
)

MAX_DAMAGED = 0.01
"""Share of damaged frames above which an archive is refused; one frame is always tolerated."""
_log = logging.getLogger("gendef.data")


class _Unreadable(Exception):
    """A frame that cannot be decoded."""


class VideoArchive:
    """Clips of a data archive made by `gendef data prepare`, or of a zip of StyleGAN-V or StyleGAN with square frames.

    Decoded frames stay in memory, as uint8, if all of them fit into `cache_bytes`. The archive can be pickled and
    used from threads and forked processes.

    A frame that cannot be decoded is replaced by the nearest readable one, of its clip if there is one, and reported
    once to `on_damage`.

    Args:
        path: the file.
        cache_bytes: memory for decoded frames.
        on_damage: called with a sentence for each damaged frame, and for a zip of single images; default the log of
            `gendef.data`, at level warning.

    Attributes:
        path: the file.
        damaged: damaged frames found so far, member name -> error.
        resolution: side of the frames in pixels.
        clip_names: folder of each clip, in natural order.
        lengths: frames of each clip.
        fps: frames per second of each clip; 25 if the archive does not state it.
        sources: the video each clip was cut from, for splits by source; the clip's name if it is not stated.
        classes: names of the classes; empty without labels.
        labels: class index of each clip, or None.
        single_images: whether it is another program's zip of images; each is a clip of one frame.
        metadata: contents of dataset.json; empty for other programs' archives.
        fingerprint: SHA-256 of all member names, sizes and checksums.

    Raises:
        DataError: not a zip, a member that points outside, no readable frame, frames that are no squares of one size, a
            newer format.
    """

    def __init__(
        self, path: str | Path, cache_bytes: int = 2 * 10**9, on_damage: Callable[[str], None] = _log.warning
    ) -> None:
        self.path = Path(path)
        self.damaged: dict[str, str] = {}
        self._on_damage = on_damage
        if not self.path.is_file():
            raise DataError(f"{self.path} is not a file; make a data archive with  gendef data prepare")
        self._lock = threading.Lock()
        self._zip: zipfile.ZipFile | None = None
        self._zip_process = 0
        with open_zip(self.path) as archive:
            frames = frames_by_clip(archive)
            self.metadata: dict[str, Any] = read_metadata(archive)
            self.single_images = not self.metadata and bool(frames) and holds_single_images(frames)
            if self.single_images:
                frames = {name: [name] for names in frames.values() for name in names}
                on_damage(f"{self.path} holds {len(frames)} single images, for stage 1; a clip is a folder of frames")
            foreign_labels = None if self.metadata else read_labels(archive, frames)
            self.fingerprint = _fingerprint(archive)
        if not frames:
            raise DataError(f"{self.path} holds no frames; make a data archive with  gendef data prepare")
        self.clip_names = list(frames)
        self.lengths = [len(names) for names in frames.values()]
        self._names = [name for names in frames.values() for name in names]
        self._starts = np.concatenate(([0], np.cumsum(self.lengths)))
        known = {clip["name"]: clip for clip in self.metadata.get("clips", [])}
        clips = [known.get(name, {}) for name in self.clip_names]
        self.fps = [float(clip.get("fps", DEFAULT_FPS)) for clip in clips]
        self.sources = [str(clip.get("source", name)) for clip, name in zip(clips, self.clip_names, strict=True)]
        self.classes: list[str] = self.metadata.get("classes", [])
        self.labels: list[int] | None = None
        if self.classes:
            if not all(clips):
                raise DataError(f"{self.path} has classes, but clips without one; prepare it again")
            self.labels = [clip["label"] for clip in clips]
        elif foreign_labels is not None:
            self.classes = [str(number) for number in range(max(foreign_labels) + 1)]
            self.labels = foreign_labels
        self.resolution = self._first_frame().shape[-1]
        if not self.metadata and not self.single_images:
            # Another program's: a frame of each clip tells whether the sizes agree, before training starts.
            for start in self._starts[1:-1]:
                self._readable(int(start))
        self._caching = self.num_frames * 3 * self.resolution**2 <= cache_bytes
        self._cache: np.ndarray | None = None
        self._cached = np.zeros(self.num_frames, bool)

    @property
    def num_clips(self) -> int:
        """Number of clips."""
        return len(self.lengths)

    @property
    def num_frames(self) -> int:
        """Number of frames in all clips."""
        return len(self._names)

    @property
    def num_classes(self) -> int:
        """Number of classes, 0 without labels."""
        return len(self.classes)

    def read_frames(self, clip: int, indices: Sequence[int]) -> Tensor:
        """Frames `indices` (at least one) of clip number `clip`, uint8 RGB (T, 3, R, R).

        Raises:
            InputError: there is no such clip or frame.
            DataError: more than 1 % of all frames are damaged, or a frame has
                another size.
        """
        if not 0 <= clip < self.num_clips:
            raise InputError(f"clip {clip} does not exist; {self.path} has {self.num_clips}")
        if not len(indices):
            raise InputError("no frame indices were given; name at least one")
        length = self.lengths[clip]
        for index in indices:
            if not 0 <= index < length:
                raise InputError(f"frame {index} does not exist; clip {clip} of {self.path} has {length}")
        rows = [int(self._starts[clip]) + int(index) for index in indices]
        if not self._caching:
            frames = [self._readable(row) for row in rows]
            return torch.from_numpy(np.stack(frames))
        with self._lock:
            if self._cache is None:
                # Memory is taken page by page, as frames come in.
                self._cache = np.empty((self.num_frames, 3, self.resolution, self.resolution), np.uint8)
        for row in rows:
            if not self._cached[row]:
                self._cache[row] = self._readable(row)
                self._cached[row] = True
        return torch.from_numpy(self._cache[rows])

    def check(self, on_frame: Callable[[], None] = lambda: None) -> dict[str, str]:
        """Decode every frame; returns the damaged ones, member name -> error.

        Args:
            on_frame: called after each frame.

        Raises:
            DataError: a frame has another size.
        """
        for row, name in enumerate(self._names):
            try:
                self._decode(row, self.resolution)
            except _Unreadable as error:
                self.damaged[name] = str(error)
            on_frame()
        return self.damaged

    def _first_frame(self) -> np.ndarray:
        for row in range(self.num_frames):
            try:
                return self._decode(row, None)
            except _Unreadable as error:
                self._report(row, error)
        raise DataError(f"{self.path} holds no readable frame")

    def _readable(self, row: int) -> np.ndarray:
        """Frame number `row` of all, uint8 (3, R, R); in place of a damaged one the nearest readable frame."""
        try:
            return self._decode(row, self.resolution)
        except _Unreadable as error:
            self._report(row, error)
        clip = int(np.searchsorted(self._starts, row, side="right")) - 1
        own = range(int(self._starts[clip]), int(self._starts[clip + 1]))
        for candidate in sorted(range(self.num_frames), key=lambda other: (other not in own, abs(other - row))):
            try:
                return self._decode(candidate, self.resolution)
            except _Unreadable as error:
                self._report(candidate, error)
        raise DataError(f"{self.path} holds no readable frame")

    def _report(self, row: int, error: Exception) -> None:
        """Remember a damaged frame and report it the first time.

        Raises:
            DataError: too many are damaged.
        """
        name = self._names[row]
        if name in self.damaged:
            return
        self.damaged[name] = str(error)
        count, limit = len(self.damaged), max(1, int(MAX_DAMAGED * self.num_frames))
        if count > limit:
            raise DataError(
                f"{self.path}: {count} of {self.num_frames} frames are damaged, more than {limit}, such as {name}:"
                f" {error}. `gendef data info {self.path} --check` lists them; prepare the archive again"
            )
        self._on_damage(f"{self.path}:{name} is damaged and is replaced by its neighbour: {error}")

    def _decode(self, row: int, resolution: int | None) -> np.ndarray:
        """Frame number `row` of all, uint8 (3, R, R).

        Raises:
            _Unreadable: it cannot be decoded.
            DataError: it has another size.
        """
        name = self._names[row]
        archive = self._open()
        try:
            frame = decode_image(read_member(archive, name), name)
        except DataError as error:
            raise _Unreadable(str(error)) from error
        height, width = frame.shape[:2]
        if height != width or (resolution is not None and height != resolution):
            wanted = f" and not {resolution}x{resolution}" if resolution is not None else ""
            raise DataError(
                f"{self.path}:{name} is {width}x{height} pixels{wanted}; all frames must be squares of one size:"
                " run  gendef data prepare  on this archive"
            )
        return frame.transpose(2, 0, 1)

    def _open(self) -> zipfile.ZipFile:
        # A forked child must not share its parent's file position; within a process zipfile locks its reads itself.
        with self._lock:
            if self._zip is None or self._zip_process != os.getpid():
                try:
                    self._zip = zipfile.ZipFile(self.path)
                except (zipfile.BadZipFile, OSError) as error:
                    raise DataError(f"{self.path} can no longer be opened: {error}") from error
                self._zip_process = os.getpid()
            return self._zip

    def __getstate__(self) -> dict[str, Any]:
        """State without the open file and the decoded frames, for pickling."""
        state = {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_zip", "_cache")}
        return {**state, "_cached": np.zeros(self.num_frames, bool)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._zip, self._cache = threading.Lock(), None, None


def _fingerprint(archive: zipfile.ZipFile) -> str:
    digest = hashlib.sha256()
    for info in sorted(archive.infolist(), key=lambda item: item.filename):
        digest.update(f"{info.filename}\0{info.file_size}\0{info.CRC}\n".encode())
    return digest.hexdigest()
