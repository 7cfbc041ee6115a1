"""Finding and reading videos: files, folders of frames, folders of either, and StyleGAN-V style zips."""

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

from gendef.errors import DataError
from gendef.media.zips import (
    DEFAULT_FPS,
    frames_by_clip,
    is_image,
    natural_key,
    open_zip,
    read_member,
    read_metadata,
)

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".webm", ".mkv", ".gif", ".m4v", ".mpg", ".mpeg"})


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
    """

    path: Path
    kind: Literal["video", "folder", "zip"]
    inner: str = ""
    label: str = ""
    identity: str = ""
    fps: float = 0.0
    frames: int = 0

    @property
    def name(self) -> str:
        """Where it is, for messages."""
        return f"{self.path}:{self.inner}" if self.inner else str(self.path)


@dataclass(frozen=True)
class Frame:
    """One frame: uint8 RGB (H, W, 3), its number in the source, and its time in seconds."""

    image: np.ndarray
    index: int
    time: float


@dataclass(frozen=True)
class Damage:
    """A frame file, or the rest of a video, that cannot be read; what follows is not its neighbour."""

    where: str
    reason: str


@dataclass(frozen=True)
class SourceInfo:
    """Frames a second, and the (announced, not always true) number of frames; 0 = unknown."""

    fps: float
    frames: int


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
        if suffix in VIDEO_SUFFIXES:
            yield Source(path, "video", label=label), {}
        elif suffix == ".zip":
            yield from _discover_zip(path)
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
        try:
            children = [child for child in source.path.iterdir() if is_image(child.name) and not child.is_dir()]
        except OSError as error:
            raise DataError(f"{source.name} cannot be listed: {error}") from error
        for index, child in enumerate(sorted(children, key=lambda item: natural_key(item.name))):
            try:
                yield Frame(decode_image(child.read_bytes(), child.name), index, index / DEFAULT_FPS)
            except (OSError, DataError) as error:
                yield Damage(child.name, str(error))
    else:
        archive, clips = _cached_zip(source.path)
        for index, name in enumerate(clips.get(source.inner, [])):
            try:
                image = decode_image(read_member(archive, name), name)
            except DataError as error:
                yield Damage(name, str(error))
                continue
            yield Frame(image, index, index / (source.fps or DEFAULT_FPS))


@lru_cache(maxsize=1)
def _cached_zip(path: Path) -> tuple[zipfile.ZipFile, dict[str, list[str]]]:
    """The zip, kept open: its clips are read one after the other and its directory can be long."""
    archive = open_zip(path)
    return archive, frames_by_clip(archive)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """An encoded image as uint8 RGB (H, W, 3), turned upright, transparency on black.

    Raises:
        DataError: the bytes are no image, are truncated, or the image is unreasonably large.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image: Image.Image = opened
            if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips instead of scaling
                grey = (np.asarray(image, np.float32) / 257).clip(0, 255).round().astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if image.getexif():
                image = ImageOps.exif_transpose(image)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                rgba = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
            return np.asarray(image.convert("RGB"))
    except Exception as error:
        # On hostile bytes Pillow's decoders raise nearly anything (struct.error, IndexError, SyntaxError, ...).
        raise DataError(f"{name} is not a readable image: {error}") from error


def _read_video(source: Source, threads: int) -> Iterator[Frame | Damage]:
    import av

    index = 0
    try:
        with av.open(str(source.path)) as container:
            if not container.streams.video:
                raise DataError(f"{source.name} has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            fps = float(stream.average_rate or DEFAULT_FPS)
            aspect = float(stream.sample_aspect_ratio or 1)
            convert = _Converter(aspect)
            first = None
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    yield Damage(source.name, f"damaged at frame {index}; the rest is not used")
                    return
                time = frame.time if frame.time is not None else index / fps
                first = time if first is None else first
                yield Frame(convert(frame), index, time - first)
                index += 1
    except (av.FFmpegError, OSError, ValueError) as error:
        if index == 0:
            raise DataError(f"{source.name} cannot be decoded: {error}") from error
        yield Damage(source.name, f"damaged at frame {index} ({error}); the rest is not used")


class _Converter:
    """Decoded frames to RGB with square pixels, turned the way their display matrix says (phones film sideways).

    Holds one scaler for all frames of a video: a new one a frame takes as long as decoding it.
    """

    _SUBSAMPLED_8_BIT = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuv444p"})

    def __init__(self, aspect: float) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()
        self._aspect = aspect if 0.2 < aspect < 5 else 1.0

    def __call__(self, frame: Any) -> np.ndarray:
        if self._aspect != 1:
            width = max(1, round(frame.width * self._aspect))
            converted = self._scaler.reformat(frame, width=width, format="rgb24")
        else:
            # The same pixels as by default, four times as fast; other formats would lose chroma by it.
            quick = frame.format.name in self._SUBSAMPLED_8_BIT
            converted = self._scaler.reformat(frame, format="rgb24", interpolation="POINT" if quick else None)
        image = converted.to_ndarray()
        turns = round(getattr(frame, "rotation", 0) / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def probe(source: Source) -> SourceInfo:
    """Frame rate and announced number of frames; zeros where the source cannot be opened, which reading reports."""
    if source.kind != "video":
        return SourceInfo(source.fps, source.frames)
    import av

    try:
        with av.open(str(source.path)) as container:
            if not container.streams.video:
                return SourceInfo(0.0, 0)
            stream = container.streams.video[0]
            fps = float(stream.average_rate or 0)
            seconds = float((container.duration or 0) / av.time_base)
            return SourceInfo(fps, stream.frames or round(seconds * fps))
    except (av.FFmpegError, OSError, ValueError):
        return SourceInfo(0.0, 0)
