"""The sources of clips for a comparison: a data archive, a folder of videos, saved clips, or a model."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.data import VideoArchive
from gendef.data.extract import crop_boxes, to_square
from gendef.errors import DataError
from gendef.evaluation.sampling import MODEL_TIMES, Sampling, draw_windows
from gendef.media.images import to_uint8
from gendef.media.sources import Source, discover
from gendef.media.video_reader import (
    Damage,
    probe,
    read_frames,
)
from gendef.metrics.weights import checksum
from gendef.model.baseline import load_model
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.clip_format import CANONICAL, FIELD, META
from gendef.video.layered_video import load_clip

SEEDS_APART = 1_000_000
"""Clips of evaluation seed s come from the model's seeds s * SEEDS_APART, s * SEEDS_APART + 1, ..."""


_START_DRAWS = 1
"""Separates the random numbers of a model's first times from those of other draws of one seed."""


class ClipSet(ABC):
    """A source of clips for a measurement.

    Attributes:
        name: as the user gave it.
        kind: what it is.
        fingerprint: hash of the content: two sets with equal names can differ.
        notes: remarks for the report, such as damaged videos.
    """

    kind: str

    def __init__(self, name: str, fingerprint: str) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.notes: list[str] = []

    @abstractmethod
    def windows(self, sampling: Sampling) -> list[tuple[int, int]]:
        """The clips that `clips` will yield: (video, first frame).

        Raises:
            DataError: no video is long enough.
        """

    @abstractmethod
    def read(self, windows: list[tuple[int, int]], sampling: Sampling) -> Iterator[Tensor]:
        """The clips of `windows`, uint8 RGB (T, 3, H, W), one at a time; a damaged one is left out and noted."""

    def clips(self, sampling: Sampling) -> Iterator[Tensor]:
        """Clips, uint8 RGB (T, 3, S, S), one at a time."""
        return self.read(self.windows(sampling), sampling)

    def frame_rates(self) -> list[float]:
        """The different frame rates of the videos, frames a second, ascending; empty if they are not known."""
        return []

    def facts(self) -> dict[str, Any]:
        """Plain values for reports."""
        return {"name": self.name, "kind": self.kind, "fingerprint": self.fingerprint}

    def note(self, text: str) -> None:
        """Add a note for the report, once."""
        if text not in self.notes:
            self.notes.append(text)


class ArchiveClips(ClipSet):
    """Clips of a data archive."""

    kind = "data archive"

    def __init__(self, path: Path) -> None:
        self._archive = VideoArchive(path, cache_bytes=0)  # a clip is read once
        super().__init__(str(path), self._archive.fingerprint)

    def windows(self, sampling: Sampling) -> list[tuple[int, int]]:
        """See `ClipSet`."""
        return draw_windows(self._archive.lengths, sampling, self.name)

    def frame_rates(self) -> list[float]:
        """See `ClipSet`; archives of other programs do not say."""
        return _different(self._archive.fps) if self._archive.metadata else []

    def read(self, windows: list[tuple[int, int]], sampling: Sampling) -> Iterator[Tensor]:
        """See `ClipSet`."""
        for video, start in windows:
            frames = self._archive.read_frames(video, (start + sampling.offsets()).tolist())
            if self._archive.damaged:
                count = len(self._archive.damaged)
                self.notes = [note for note in self.notes if "damaged" not in note]
                self.note(f"{count} damaged frames of {self.name} are replaced by their neighbours")
            same = sampling.size in (None, self._archive.resolution)
            yield frames if same else _stacked(square(frame, sampling) for frame in frames.movedim(1, -1).numpy())


class VideoFiles(ClipSet):
    """Video files and folders of frames, decoded in one pass each."""

    kind = "videos"

    def __init__(self, path: Path) -> None:
        self._sources = discover([path])
        super().__init__(str(path), _fingerprint(source.path for source in self._sources))
        self._lengths: list[int] | None = None

    def windows(self, sampling: Sampling) -> list[tuple[int, int]]:
        """See `ClipSet`."""
        if self._lengths is None:
            self._lengths = [self._count(source) for source in self._sources]
        short = sum(0 < length < sampling.span for length in self._lengths)
        if short:
            self.note(f"{short} of {len(self._lengths)} videos of {self.name} are shorter than {sampling.span} frames")
        return draw_windows(self._lengths, sampling, self.name)

    def read(self, windows: list[tuple[int, int]], sampling: Sampling) -> Iterator[Tensor]:
        """See `ClipSet`."""
        for video, group in groupby(windows, key=lambda window: window[0]):
            source = self._sources[video]
            yield from self._read_video(source, [start for _, start in group], sampling)

    def frame_rates(self) -> list[float]:
        """See `ClipSet`."""
        return _different(probe(source).fps for source in self._sources)

    def _count(self, source: Source) -> int:
        try:
            return _count_frames(source)
        except DataError as error:
            self.note(f"{error}; left out")
            return 0

    def _read_video(self, source: Source, starts: list[int], sampling: Sampling) -> Iterator[Tensor]:
        wanted = {int(start): start + sampling.offsets() for start in starts}
        needed = set(np.concatenate(list(wanted.values())).tolist())
        kept: dict[int, Tensor] = {}
        for frame in read_frames(source, threads=0):
            if isinstance(frame, Damage):
                break
            if frame.index in needed:
                kept[frame.index] = square(frame.image, sampling)
            first = next(iter(wanted))
            if frame.index == wanted[first][-1]:
                images = [kept[index] for index in wanted.pop(first).tolist()]
                sizes = sorted({(image.shape[2], image.shape[1]) for image in images})
                if len(sizes) > 1:
                    raise DataError(
                        f"{source.name} has frames of two sizes, {sizes[0][0]}x{sizes[0][1]} and"
                        f" {sizes[1][0]}x{sizes[1][1]}: give --size to bring all frames to one size"
                    )
                yield torch.stack(images)
                if not wanted:
                    return
                kept = {index: image for index, image in kept.items() if index >= next(iter(wanted))}
        self.note(f"{source.name} is damaged: {len(wanted)} of its clips are left out")


class SavedClips(ClipSet):
    """Clips as `gendef sample` saves them, rendered."""

    kind = "saved clips"

    def __init__(self, path: Path, folders: list[Path]) -> None:
        self._folders = folders
        files = (folder / name for folder in folders for name in (CANONICAL, FIELD, META))
        super().__init__(str(path), _fingerprint(files))

    def windows(self, sampling: Sampling) -> list[tuple[int, int]]:
        """See `ClipSet`."""
        lengths = [load_clip(folder).num_frames for folder in self._folders]
        return draw_windows(lengths, sampling, self.name)

    def read(self, windows: list[tuple[int, int]], sampling: Sampling) -> Iterator[Tensor]:
        """See `ClipSet`."""
        for video, group in groupby(windows, key=lambda window: window[0]):
            clip = load_clip(self._folders[video])
            for _, start in group:
                frames = to_uint8(clip.render(frames=(start + sampling.offsets()).tolist()))
                yield _stacked(square(frame, sampling) for frame in frames)


class ModelClips(ClipSet):
    """Clips generated by a model, each with its own seed and a start time that the sampling draws."""

    kind = "model"

    def __init__(self, name: str, device: str | torch.device = "cpu") -> None:
        self._model = load_model(name, device=device)
        # The networks' shape is part of what they are: the hash of the weights does not hold it.
        config = hashlib.sha256(self._model.architecture.encode()).hexdigest()
        super().__init__(name, f"{self._model.fingerprint}-{config[:16]}")

    def windows(self, sampling: Sampling) -> list[tuple[int, int]]:
        """See `ClipSet`; the number of a video is the model's seed."""
        first = sampling.seed * SEEDS_APART
        starts = np.zeros(sampling.count, np.int64)
        if sampling.start == "random":
            room = max(MODEL_TIMES - sampling.span, 0) + 1
            starts = np.random.default_rng((sampling.seed, _START_DRAWS)).integers(room, size=sampling.count)
        return [(first + index, int(start)) for index, start in enumerate(starts)]

    def frame_rates(self) -> list[float]:
        """See `ClipSet`."""
        return [self._model.fps]

    def read(self, windows: list[tuple[int, int]], sampling: Sampling) -> Iterator[Tensor]:
        """See `ClipSet`."""
        for seed, start in windows:
            times = torch.from_numpy(start + sampling.offsets()).float()
            clip = self._model.sample(seed, times=times, truncation=sampling.truncation)
            yield _stacked(square(frame, sampling) for frame in to_uint8(clip.render()))


class CanonicalImages(ModelClips):
    """The canonical images of a GenDeF model, as clips of one frame; they measure stage 1 alone."""

    kind = "canonical images"

    def read(self, windows: list[tuple[int, int]], sampling: Sampling) -> Iterator[Tensor]:
        """See `ClipSet`.

        Raises:
            DataError: clips are longer than one frame, or the model is a baseline without canonical images.
        """
        if sampling.frames != 1:
            raise DataError(f"canonical images are clips of one frame, not of {sampling.frames}")
        for seed, _ in windows:
            clip = self._model.sample(seed, 1, truncation=sampling.truncation)
            if not isinstance(clip, CanonicalVideo):
                raise DataError(f"{self.name} outputs frames directly and has no canonical images")
            yield square(to_uint8(clip.canonical), sampling)[None]


def frame_rate_warnings(fake: ClipSet, real: ClipSet) -> list[str]:
    """Warnings about frame rates that differ within a side or between the sides: motion is compared per frame."""
    found = []
    rates = [(side.name, side.frame_rates()) for side in (fake, real)]
    for name, own in rates:
        if len(own) > 1:
            found.append(
                f"the videos of {name} have {len(own)} different frame rates, {own[0]:g} to {own[-1]:g} a second, and"
                " motion is compared per frame: prepare them with `gendef data prepare --fps`"
            )
    (first, one), (second, other) = rates
    if len(one) == len(other) == 1 and abs(one[0] - other[0]) > 0.02 * max(one[0], other[0]):
        found.append(
            f"{first} has {one[0]:g} frames a second and {second} {other[0]:g}, and motion is compared per frame: bring"
            " them to one rate with `gendef data prepare --fps`"
        )
    return found


def _different(rates: Iterable[float]) -> list[float]:
    """Known rates, rounded to 1/100 and each once, ascending."""
    return sorted({round(rate, 2) for rate in rates if rate > 0})


def square(frame: np.ndarray, sampling: Sampling) -> Tensor:
    """A frame, uint8 (H, W, 3), cropped or stretched to a square and resized as the sampling says: (3, S, S)."""
    height, width = frame.shape[:2]
    if height != width or sampling.size not in (None, height):
        box = (0, 0, width, height) if sampling.fit == "stretch" else crop_boxes(width, height, 1)[0]
        side = sampling.size or min(height, width)
        frame = np.asarray(to_square(Image.fromarray(frame), box, side))
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))


def _stacked(frames: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(frames))


def _count_frames(source: Source) -> int:
    """Frames of a video by its packets, which is exact for all but damaged files and needs no decoding."""
    if source.kind != "video":
        return probe(source).frames
    import av

    try:
        with av.open(str(source.path)) as container:
            if not container.streams.video:
                raise DataError(f"{source.name} has no video stream")
            return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"{source.name} cannot be read: {error}") from error


def _fingerprint(paths: Iterable[Path]) -> str:
    """Hash of the contents of files, in order; of a folder, of the files in it."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(paths):
        files = sorted(child for child in path.iterdir() if not child.is_dir()) if path.is_dir() else [path]
        for file in files:
            content = checksum(file) if file.exists() else "a link to nothing"
            digest.update(f"{file.name}\0{content}\n".encode())
    return digest.hexdigest()
