"""Reading videos frame by frame: files, folders of frames, animated pictures, and StyleGAN-V style zips."""

import itertools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from gendef.errors import DataError
from gendef.media.sources import Source
from gendef.media.still_images import decode_rgba, on_black
from gendef.media.video_file import VideoFacts, decode_video, examine_video
from gendef.media.zips import (
    DEFAULT_FPS,
    frames_by_clip,
    is_image,
    natural_key,
    open_zip,
    read_member,
)

ANIMATIONS = frozenset({".webp", ".apng"})
"""Animated pictures that libav does not read and Pillow does."""


@dataclass(frozen=True)
class Frame:
    """One frame of a source.

    Attributes:
        image: uint8 RGB (H, W, 3); over black where it is transparent.
        index: number in the source, from 0.
        time: seconds from the first frame.
        alpha: uint8 (H, W), None where the source has no alpha.
    """

    image: np.ndarray
    index: int
    time: float
    alpha: np.ndarray | None = None


@dataclass(frozen=True)
class Damage:
    """A frame file, or the rest of a video, that cannot be read; what follows is not its neighbour."""

    where: str
    reason: str


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source before its frames are read.

    Attributes:
        fps: frames a second; 0 if unknown.
        frames: announced number of frames, not always true; 0 if unknown.
        notes: what a user must know about how it is read, one sentence each.
        facts: of the stream, for video files.
    """

    fps: float
    frames: int
    notes: tuple[str, ...] = ()
    facts: VideoFacts | None = None


def read_frames(source: Source, threads: int = 1) -> Iterator[Frame | Damage]:
    """Frames in order, upright and with square pixels; `Damage` stands where something could not be read.

    Args:
        threads: threads of a video decoder; 0 lets it choose.

    Raises:
        DataError: the source cannot be opened at all.
    """
    if source.kind == "video":
        yield from _read_video(source, threads)
    elif source.kind == "folder":
        for index, child in enumerate(_pictures(source)):
            try:
                image, alpha = decode_rgba(child.read_bytes(), child.name)
            except (OSError, DataError) as error:
                yield Damage(child.name, str(error))
                continue
            yield _frame(image, alpha, index, index / DEFAULT_FPS)
    else:
        archive, clips = _cached_zip(source.path)
        for index, name in enumerate(clips.get(source.inner, [])):
            try:
                image, alpha = decode_rgba(read_member(archive, name), name)
            except DataError as error:
                yield Damage(name, str(error))
                continue
            yield _frame(image, alpha, index, index / (source.fps or DEFAULT_FPS))


def _frame(image: np.ndarray, alpha: np.ndarray | None, index: int, time: float) -> Frame:
    """A frame over black, with its alpha kept where any pixel is not opaque."""
    if alpha is None or alpha.min() == 255:
        return Frame(image, index, time)
    return Frame(on_black(image, alpha), index, time, alpha)


def _pictures(source: Source) -> list[Path]:
    """The frame files of a folder, in natural order.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        children = [child for child in source.path.iterdir() if is_image(child.name) and not child.is_dir()]
    except OSError as error:
        raise DataError(f"{source.name} cannot be listed: {error}") from error
    return sorted(children, key=lambda item: natural_key(item.name))


@lru_cache(maxsize=1)
def _cached_zip(path: Path) -> tuple[zipfile.ZipFile, dict[str, list[str]]]:
    """The zip, kept open: its clips are read one after the other and its directory can be long."""
    archive = open_zip(path)
    return archive, frames_by_clip(archive)


def _read_video(source: Source, threads: int) -> Iterator[Frame | Damage]:
    index = 0
    try:
        if source.path.suffix.lower() in ANIMATIONS:
            for image, alpha, time in _animation(source.path):
                yield _frame(image, alpha, index, time)
                index += 1
            return
        for decoded in decode_video(source.path, source.stream, threads):
            yield _frame(decoded.image, decoded.alpha, index, decoded.time)
            index += 1
    except DataError as error:
        if index == 0:
            raise
        yield Damage(source.name, f"damaged at frame {index} ({error}); the rest is not used")


def _animation(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Frames of an animated picture, their alpha, and their times in seconds.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with Image.open(path) as opened:
            time = 0.0
            for number in range(getattr(opened, "n_frames", 1)):
                opened.seek(number)
                rgba = np.asarray(opened.convert("RGBA"))
                yield np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3]), time
                time += float(opened.info.get("duration", 1000 / DEFAULT_FPS)) / 1000
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} cannot be decoded: {error}") from error


def probe(source: Source) -> SourceInfo:
    """What is known before reading; zeros where the source cannot be opened, which reading reports."""
    if source.kind == "folder":
        return SourceInfo(source.fps, source.frames, tuple(_gap_notes(source)))
    if source.kind == "zip":
        return SourceInfo(source.fps, source.frames)
    try:
        if source.path.suffix.lower() in ANIMATIONS:
            times = [time for _, _, time in _animation(source.path)]
            return SourceInfo((len(times) - 1) / times[-1] if len(times) > 1 else DEFAULT_FPS, len(times))
        facts = examine_video(source.path, source.stream)
    except DataError:
        return SourceInfo(0.0, 0)
    return SourceInfo(facts.fps, facts.frames, tuple(facts.notes), facts)


def _gap_notes(source: Source) -> list[str]:
    """A sentence if numbered pictures of a folder are missing between the first and the last."""
    found = [re.search(r"(\d+)\D*$", child.stem) for child in _pictures(source)]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) != len(found):
        return []
    gaps = [(one + 1, two - 1) for one, two in itertools.pairwise(numbers) if two > one + 1]
    if not gaps or len({two - one for one, two in itertools.pairwise(numbers)}) == 1:
        return []  # a constant step is a choice, no gap
    ranges = ", ".join(f"{one}" if one == two else f"{one} to {two}" for one, two in gaps[:5])
    missing = sum(two - one + 1 for one, two in gaps)
    return [f"the sequence has no picture {ranges} ({missing} missing); the pictures are taken one after the other"]
