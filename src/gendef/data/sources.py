"""Finding and reading videos: files, folders of frames, folders of either, and StyleGAN-V style zips."""

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from gendef.errors import DataError

VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".webm", ".mkv", ".gif", ".m4v", ".mpg", ".mpeg"}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Source:
    """One video to read.

    `path` is a video file, a folder of frames, or a zip; `inner` is the clip's folder inside a zip.
    """

    path: Path
    kind: Literal["video", "folder", "zip"]
    inner: str = ""
    label: str = ""

    @property
    def name(self) -> str:
        """Name to show and to split by."""
        return f"{self.path}:{self.inner}" if self.inner else str(self.path)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts frame 10 after frame 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def safe_member(name: str) -> bool:
    """Whether an archive member stays inside the folder it would be unpacked to."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not (path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", name))


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open an archive whose members all stay inside.

    Raises:
        DataError: not a zip, damaged, or a member name is absolute or holds `..`.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} cannot be opened as a zip archive: {error}") from error
    for name in archive.namelist():
        if not safe_member(name):
            archive.close()
            raise DataError(f"{path} is refused: its member {name!r} would be written outside the archive's folder")
    return archive


def discover(paths: list[Path]) -> list[Source]:
    """All videos in `paths`, in natural order, each once.

    Raises:
        DataError: a path does not exist, is of no known kind, or holds no video.
    """
    found: dict[tuple[Path, str], Source] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist")
        sources = list(_discover(path, ""))
        if not sources:
            kinds = " ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
            raise DataError(f"{path} holds no video: expected {kinds}, a zip, or folders of images")
        for source in sources:
            found.setdefault((source.path.resolve(), source.inner), source)
    return list(found.values())


def _discover(path: Path, label: str) -> Iterator[Source]:
    suffix = path.suffix.lower()
    if path.is_file():
        if suffix in VIDEO_SUFFIXES:
            yield Source(path, "video", label=label)
        elif suffix == ".zip":
            with open_zip(path) as archive:
                folders = {str(PurePosixPath(name).parent) for name in archive.namelist() if _is_image(name)}
            for folder in sorted(folders, key=natural_key):
                yield Source(path, "zip", inner=folder, label=PurePosixPath(folder).parent.name)
        return
    children = sorted(path.iterdir(), key=lambda child: natural_key(child.name))
    children = [child for child in children if not child.name.startswith(".")]
    if any(child.is_file() and _is_image(child.name) for child in children):
        yield Source(path, "folder", label=label)
    for child in children:
        if child.is_dir() or child.suffix.lower() in VIDEO_SUFFIXES | {".zip"}:
            yield from _discover(child, path.name)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source before its frames are read; `fps` is 0 where it does not say."""

    fps: float


def read_frames(source: Source) -> Iterator[np.ndarray]:
    """Frames in order, uint8 RGB (H, W, 3).

    Raises:
        DataError: the source cannot be read.
    """
    try:
        if source.kind == "video":
            yield from _read_video(source.path)
        elif source.kind == "folder":
            names = [child for child in source.path.iterdir() if child.is_file() and _is_image(child.name)]
            for child in sorted(names, key=lambda item: natural_key(item.name)):
                yield decode_image(child.read_bytes(), str(child))
        else:
            with open_zip(source.path) as archive:
                names = [n for n in archive.namelist() if _is_image(n) and str(PurePosixPath(n).parent) == source.inner]
                for name in sorted(names, key=natural_key):
                    yield decode_image(archive.read(name), f"{source.path}:{name}")
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{source.name} cannot be read: {error}") from error


def decode_image(data: bytes, name: str) -> np.ndarray:
    """An encoded image as uint8 RGB (H, W, 3).

    Raises:
        DataError: the bytes are no image, are truncated, or the image is unreasonably large.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is not a readable image: {error}") from error


def _read_video(path: Path) -> Iterator[np.ndarray]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24")
    except av.error.FFmpegError as error:
        raise DataError(f"{path} cannot be decoded: {error}") from error


def probe(source: Source) -> SourceInfo:
    """Frame rate of a source.

    Raises:
        DataError: a video file cannot be opened.
    """
    if source.kind != "video":
        return SourceInfo(0.0)
    import av

    try:
        with av.open(str(source.path)) as container:
            if not container.streams.video:
                raise DataError(f"{source.path} has no video stream")
            rate: Fraction | None = container.streams.video[0].average_rate
            return SourceInfo(float(rate) if rate else 0.0)
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{source.path} cannot be opened as a video: {error}") from error
