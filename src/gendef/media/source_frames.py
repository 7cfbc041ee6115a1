"""The original footage of a clip: remembered when the clip is made, found again when an edit lies over it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gendef.errors import DataError, GendefError, InputError
from gendef.media.audio import Soundtrack
from gendef.media.colour import ColourTags
from gendef.media.frame_times import varying_times
from gendef.media.sources import Source, discover
from gendef.media.video_reader import (
    Damage,
    probe,
    read_frames,
)
from gendef.media.zips import DEFAULT_FPS

HASHED_BYTES = 2**20
"""Bytes at each end of a file that are hashed: enough to tell files apart, and quick for long ones."""


def describe_source(path: Path, numbers: Sequence[int], stream: int | None) -> dict[str, Any]:
    """What a clip keeps of its source, as plain values: path, hash, frame numbers, stream."""
    return {
        "path": str(path.resolve()),
        "hash": source_hash(path),
        "frames": list(numbers),
        "stream": stream,
    }


def source_hash(path: Path) -> str:
    """SHA-256, 16 hexadecimal digits, of a file's size and ends; of a folder, of the names and sizes of its files."""
    digest = hashlib.sha256()
    if path.is_dir():
        for child in sorted(path.iterdir()):
            if child.is_file():
                digest.update(f"{child.name}:{child.stat().st_size};".encode())
        return digest.hexdigest()[:16]
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(HASHED_BYTES))
        file.seek(max(size - HASHED_BYTES, 0))
        digest.update(file.read(HASHED_BYTES))
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class SourceFrames:
    """Frames of the original footage, in the order of a clip's frames.

    Attributes:
        source: the video.
        numbers: of the frames, in the source.
        size: height and width.
        tags: colours of the stream; None for pictures.
        times: of the frames in seconds from the first of them; None for a constant rate.
        fps: frames a second.
        sound: of these frames; None where there is none.
    """

    source: Source
    numbers: tuple[int, ...]
    size: tuple[int, int]
    tags: ColourTags | None
    times: tuple[float, ...] | None
    fps: float
    sound: Soundtrack | None

    def pictures(self, size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """The frames, uint8 (H, W, 3), at another height and width if one is given.

        Raises:
            DataError: a frame cannot be read.
        """
        wanted = set(self.numbers)
        given = 0
        for item in read_frames(self.source):
            if isinstance(item, Damage):
                raise DataError(f"{item.where}: {item.reason}")
            if item.index in wanted:
                given += 1
                yield item.image if size is None else _resized(item.image, size)
                if given == len(self.numbers):
                    return
        raise DataError(f"{self.source.name} has {given} of the {len(self.numbers)} frames of the clip")


def open_source(info: dict[str, Any], given: Path | None = None) -> SourceFrames | None:
    """The original footage of a clip.

    Args:
        info: of the clip; holds "footage" if it was fitted to one.
        given: where the footage is now; default where it was.

    Returns:
        None where the clip has no source, or nothing was given and it is no longer where it was.

    Raises:
        InputError: the clip has no source, or `given` is another file.
        DataError: the given file cannot be read.
    """
    known = info.get("footage")
    if not isinstance(known, dict):
        if given is not None:
            raise InputError("the clip does not say which footage it was made from: fit it again to use --source")
        return None
    path = Path(known["path"]) if given is None else given
    if not path.exists():
        if given is not None:
            raise InputError(f"{given} does not exist")
        return None
    if source_hash(path) != known["hash"]:
        if given is None:
            return None
        raise InputError(f"{given} is not the footage that the clip was fitted to (its contents differ)")
    try:
        return _opened(path, known)
    except GendefError:
        if given is not None:
            raise
        return None


def _opened(path: Path, known: dict[str, Any]) -> SourceFrames:
    source = replace(discover([path])[0], stream=known.get("stream"))
    numbers = tuple(int(number) for number in known["frames"])
    facts = probe(source)
    times: list[float] = []
    size: tuple[int, int] | None = None
    for item in read_frames(source):
        if isinstance(item, Damage):
            raise DataError(f"{item.where}: {item.reason}")
        size = size or (item.image.shape[0], item.image.shape[1])
        if numbers[0] <= item.index <= numbers[-1]:
            times.append(item.time)
        if item.index >= numbers[-1]:
            break
    if size is None or len(times) < len(numbers):
        raise DataError(f"{source.name} has not all of the {len(numbers)} frames of the clip")
    fps = facts.fps or DEFAULT_FPS
    chosen = [times[number - numbers[0]] for number in numbers]
    last = chosen[-1] + (chosen[-1] - chosen[-2] if len(chosen) > 1 else 1 / fps)
    has_sound = facts.facts is not None and facts.facts.audio
    varying = varying_times(chosen, fps)
    return SourceFrames(
        source,
        numbers,
        size,
        facts.facts.tags if facts.facts is not None and not facts.facts.tags.hdr else None,
        None if varying is None else tuple(varying),
        fps,
        Soundtrack(path, chosen[0], last) if has_sound else None,
    )


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))
