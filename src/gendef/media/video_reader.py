"""Finding and reading videos: files, folders of frames, folders of either, and StyleGAN-V style zips."""

import itertools
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from gendef.errors import DataError
from gendef.media.still_images import decode_rgba, on_black
from gendef.media.video_file import VideoFacts, decode_video, examine_video
from gendef.media.zips import (
    DEFAULT_FPS,
    frames_by_clip,
    is_image,
    natural_key,
    open_zip,
    read_member,
    read_metadata,
)

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".mov",
        ".avi",
        ".webm",
        ".mkv",
        ".gif",
        ".m4v",
        ".mpg",
        ".mpeg",
        ".mts",
        ".m2ts",
        ".ts",
        ".mxf",
        ".3gp",
        ".3g2",
        ".wmv",
        ".asf",
        ".flv",
        ".ogv",
        ".vob",
        ".dv",
    ]
)
"""Suffixes of videos in folders. A file that is named by itself is read by its content, whatever its suffix."""
ANIMATIONS = frozenset({".webp", ".apng"})
"""Animated pictures that libav does not read and Pillow does."""


@dataclass(frozen=True)
class Source:
    """One video to read.

    Attributes:
        path: video file, folder of frames, or zip.
        kind: which of the three.
        inner: the clip's folder inside a zip.
        label: name of the folder that holds the video, its class where folders are classes.
        identity: what splits go by: the path seen from the common folder of all sources, the same on every machine;
            for a clip of an archive that was prepared already, the video it was cut from.
        fps: frames a second where known beforehand (a clip of a prepared archive), else 0.
        frames: number of frames where known beforehand, else 0.
        stream: which video stream of a file; None for the film.
    """

    path: Path
    kind: Literal["video", "folder", "zip"]
    inner: str = ""
    label: str = ""
    identity: str = ""
    fps: float = 0.0
    frames: int = 0
    stream: int | None = None

    @property
    def name(self) -> str:
        """Where it is, for messages."""
        return f"{self.path}:{self.inner}" if self.inner else str(self.path)


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


def discover(paths: Sequence[Path], only: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[Source]:
    """All videos in `paths`, in natural order, each once.

    Args:
        only: shell patterns; a source whose name or identity matches none is left out.
        exclude: shell patterns; a source whose name or identity matches one is left out.

    Raises:
        DataError: a path does not exist or holds no video, a zip is damaged or unsafe, or the patterns leave nothing.
    """
    if not paths:
        raise DataError("no source was given; name video files, folders or zips")
    found: dict[tuple[Path, str], tuple[Source, dict[str, Any]]] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist")
        before = len(found)
        repeated = False
        for source, known in _discover(path, path.resolve().parent.name, set()):
            # A link to nothing goes by its own place: that of its target could be anywhere.
            place = source.path.resolve() if source.path.exists() else source.path.absolute()
            key = (place, source.inner)
            repeated |= key in found
            found.setdefault(key, (source, known))
        if len(found) == before and not repeated:
            kinds = " ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
            raise DataError(f"{path} holds no video: expected {kinds}, a zip of clips, or folders of images")
    root = os.path.commonpath([path.parent for path, _ in found])
    sources = [_identified(source, key, known, root) for key, (source, known) in found.items()]
    chosen = [source for source in sources if _matches(source, only or ["*"]) and not _matches(source, exclude)]
    if not chosen:
        raise DataError(
            f"only {list(only)} and exclude {list(exclude)} leave none of the {len(sources)} sources,"
            f" the first of which is named {PurePosixPath(sources[0].identity).name}"
        )
    return chosen


def _identified(source: Source, key: tuple[Path, str], known: dict[str, Any], root: str) -> Source:
    path, inner = key
    place = Path(os.path.relpath(path, root)).as_posix()
    identity = known.get("source") or (f"{place}:{inner}" if inner else place)
    return Source(
        source.path,
        source.kind,
        inner,
        known.get("class") or source.label,
        str(identity),
        float(known.get("fps", 0.0)),
        source.frames,
    )


def _matches(source: Source, patterns: Sequence[str]) -> bool:
    name = PurePosixPath(source.identity).name
    return any(fnmatch(name, pattern) or fnmatch(source.identity, pattern) for pattern in patterns)


def _discover(path: Path, label: str, visited: set[Path]) -> Iterator[tuple[Source, dict[str, Any]]]:
    """Sources below `path`, each with what a prepared archive knows of it."""
    suffix = path.suffix.lower()
    if path.is_symlink() and not path.exists():
        # A link to nothing is found and cannot be read, like any other damaged source: it is skipped and counted.
        yield Source(path, "zip" if suffix == ".zip" else "video", label=label), {}
        return
    if path.is_file():
        if suffix == ".zip":
            yield from _discover_zip(path)
        elif suffix in VIDEO_SUFFIXES or (visited == set() and _moves(path)):
            yield Source(path, "video", label=label), {}
        return
    if path.resolve() in visited:
        return  # a link back up would never end
    visited.add(path.resolve())
    children = [child for child in path.iterdir() if not child.name.startswith(".")]
    children.sort(key=lambda child: natural_key(child.name))
    frames = sum(is_image(child.name) and child.is_file() for child in children)
    if frames:
        yield Source(path, "folder", label=label, frames=frames), {}
    for child in children:
        if child.is_dir() or child.suffix.lower() in VIDEO_SUFFIXES | {".zip"}:
            yield from _discover(child, path.resolve().name, visited)


def _discover_zip(path: Path) -> Iterator[tuple[Source, dict[str, Any]]]:
    with open_zip(path) as archive:
        clips, meta = frames_by_clip(archive), read_metadata(archive)
    known = {clip["name"]: dict(clip) for clip in meta.get("clips", [])}
    for clip in known.values():
        if clip.get("label") is not None:
            clip["class"] = meta["classes"][clip["label"]]
    for folder, names in clips.items():
        label = PurePosixPath(folder).parent.name or path.stem
        yield Source(path, "zip", inner=folder, label=label, frames=len(names)), known.get(folder, {})


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


def _moves(path: Path) -> bool:
    """Whether a file of unknown suffix is a video or an animated picture, by its content."""
    try:
        with Image.open(path) as opened:
            return getattr(opened, "n_frames", 1) > 1
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass  # no picture: it may be a video
    if is_image(path.name):
        return False
    try:
        examine_video(path)
    except DataError:
        return False
    return True


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
