"""Zips of other programs: the labels of StyleGAN's and StyleGAN-V's dataset.json, and zips of single images."""

import json
import re
import zipfile
from pathlib import PurePosixPath
from typing import Any

from gendef.errors import DataError
from gendef.media.zips import METADATA, read_member

_IMAGE_NAME = re.compile(r"img\d{8}\.\w+")
"""File names that StyleGAN2-ADA's and StyleGAN3's dataset tools give to images: 00000/img00000000.png."""


def holds_single_images(frames: dict[str, list[str]]) -> bool:
    """Whether a zip of another program, clip folder -> names of its frames, holds images and no clips.

    It does if all images lie at its root, or all have the names of StyleGAN's dataset tool.
    """
    names = [PurePosixPath(name) for members in frames.values() for name in members]
    return all(len(name.parts) == 1 for name in names) or all(_IMAGE_NAME.fullmatch(name.name) for name in names)


def read_labels(archive: zipfile.ZipFile, frames: dict[str, list[str]]) -> list[int] | None:
    """Class of each clip, from a dataset.json {"labels": [[name, class], ...]}; None without labels.

    Names are those of images, as in StyleGAN2-ADA, or of clip folders. A class is an integer or a one-hot vector. A
    clip has the class of its folder or else of its first labelled frame.

    Args:
        archive: the zip.
        frames: clip -> names of its frames.

    Raises:
        DataError: a label is of another kind, or clips have none.
    """
    if METADATA not in archive.namelist():
        return None
    try:
        document = json.loads(read_member(archive, METADATA))
    except ValueError as error:
        raise DataError(f"{archive.filename}: {METADATA} is damaged: {error}") from error
    entries = document.get("labels") if isinstance(document, dict) else None
    if not entries:
        return None
    try:
        labels = {str(name).rstrip("/"): _class(value) for name, value in dict(entries).items()}
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{archive.filename}: a label in {METADATA} is neither a class number nor a one-hot vector: {error}"
        ) from error
    found = {
        clip: next((labels[name] for name in (clip, *names) if name in labels), None) for clip, names in frames.items()
    }
    missing = [clip for clip, label in found.items() if label is None]
    if missing:
        raise DataError(
            f"{archive.filename}: {METADATA} has labels, but none for {len(missing)} of {len(found)} clips, such as"
            f" {missing[0]}"
        )
    return [label for label in found.values() if label is not None]


def _class(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, list) and sorted(value) == [0] * (len(value) - 1) + [1]:
        return value.index(1)
    raise ValueError(f"{value!r}")
