"""Finding videos: files, folders of frames, folders of either, and StyleGAN-V style zips."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from PIL import Image, UnidentifiedImageError

from gendef.errors import DataError
from gendef.media.video_file import examine_video
from gendef.media.zips import (
    frames_by_clip,
    is_image,
    natural_key,
    open_zip,
    read_metadata,
)

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in [
        "mp4",
        "mov",
        "avi",
        "webm",
        "mkv",
        "gif",
        "m4v",
        "mpg",
        "mpeg",
        "mts",
        "m2ts",
        "ts",
        "mxf",
        "3gp",
        "3g2",
        "wmv",
        "asf",
        "flv",
        "ogv",
        "vob",
        "dv",
    ]
)
"""Suffixes of videos in folders. A file that is named by itself is read by its content, whatever its suffix."""


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
