"""The zip file behind a data archive: opened safely, its frames found, its dataset.json read and checked."""

import json
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from gendef.errors import DataError

FORMAT = "gendef-data"
FORMAT_VERSION = 1
METADATA = "dataset.json"
DEFAULT_FPS = 25.0
"""Frame rate of sources that do not say theirs: folders of frames, and archives of other programs."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".dpx", ".exr"})


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts frame 10 after frame 9."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)]


def is_image(name: str) -> bool:
    """Whether a file name is that of an image; hidden files (macOS leaves some in zips) are not."""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("._")


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
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} cannot be opened as a zip archive: {error}") from error
    # orig_filename, for zipfile itself already cleans what it shows as filename.
    for info in archive.infolist():
        for name in (info.orig_filename, info.filename):
            if not safe_member(name):
                archive.close()
                raise DataError(f"{path} is refused: its member {name!r} points outside the archive")
    return archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Contents of one member, its checksum verified.

    Raises:
        DataError: the member is damaged, encrypted or packed in an unknown way.
    """
    try:
        return archive.read(name)
    except Exception as error:
        # Unpacking raises what it likes: zlib.error, BadZipFile, RuntimeError for passwords, ...
        raise DataError(f"{archive.filename}: {name} cannot be unpacked: {error}") from error


def frames_by_clip(archive: zipfile.ZipFile) -> dict[str, list[str]]:
    """Clip folder -> names of its frames; clips and frames in natural order."""
    clips: dict[str, list[str]] = {}
    for name in archive.namelist():
        if is_image(name):
            clips.setdefault(str(PurePosixPath(name).parent), []).append(name)
    for names in clips.values():
        names.sort(key=natural_key)
    return {clip: clips[clip] for clip in sorted(clips, key=natural_key)}


def read_metadata(archive: zipfile.ZipFile) -> dict[str, Any]:
    """The archive's dataset.json; empty where there is none, or only that of another program.

    Raises:
        DataError: it is damaged, or of a version this gendef does not read.
    """
    if METADATA not in archive.namelist():
        return {}
    path = archive.filename
    try:
        meta = json.loads(read_member(archive, METADATA))
    except ValueError as error:
        raise DataError(f"{path}: {METADATA} is damaged: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        return {}
    if meta.get("version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has data format {meta.get('version')!r}, this gendef reads {FORMAT_VERSION}; prepare it again"
        )
    classes, clips = meta.get("classes", []), meta.get("clips", [])
    valid = (
        isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and isinstance(clips, list)
        and all(isinstance(clip, dict) and _valid_clip(clip, len(classes)) for clip in clips)
    )
    if not valid:
        raise DataError(f"{path}: {METADATA} has entries of the wrong kind; prepare the archive again")
    return meta


def _valid_clip(clip: dict[str, Any], num_classes: int) -> bool:
    label, fps = clip.get("label"), clip.get("fps", DEFAULT_FPS)
    return (
        isinstance(clip.get("name"), str)
        and isinstance(fps, int | float)
        and fps > 0
        and (isinstance(label, int) and 0 <= label < num_classes if num_classes else label is None)
    )
