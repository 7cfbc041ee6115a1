"""The saved clip: `canonical.png`, `deformation.safetensors`, `video.json` and `preview.mp4` in one folder.

Clips that know where their canonical image explains the frames have `visibility.safetensors` too, one bit a pixel, and
clips whose light changes `illumination.safetensors`.

The safetensors file holds the field and the canonical image in full precision. `canonical.png` is for people: if its
pixels are what they were when the clip was saved, the precise image is used, and if somebody edited it, the PNG is.
"""

import os
import re
import shutil
from pathlib import Path

from gendef.errors import InputError

FORMAT, FORMAT_VERSION, LAYERED_VERSION = "gendef-clip", 1, 2
CANONICAL, FIELD, META, PREVIEW = "canonical.png", "deformation.safetensors", "video.json", "preview.mp4"
VISIBILITY, ILLUMINATION = "visibility.safetensors", "illumination.safetensors"
FORMER_ILLUMINATION = "residual"
"""Name of the illumination in `video.json`, of its file and of its tensor in clips saved before it was renamed."""
FILES = {CANONICAL, FIELD, META, PREVIEW, VISIBILITY, ILLUMINATION, f"{FORMER_ILLUMINATION}.safetensors"}
ALPHA = "alpha"
"""Folder of a layer's pictures of its alpha."""
LAYER_NAME, ALPHA_NAME = re.compile(r"layer\d{2,}"), re.compile(r"\d{5,}\.png")
COORDINATES = "offsets to normalised canonical coordinates, x then y, -1 and 1 at the outer edges (align_corners=False)"
MAX_HEADER = 2**20
"""Bytes of a safetensors header that are read; two tensors need 200."""
LARGE = 2**22
"""Values of a canonical image from which on its PNG is compressed fast rather than small."""
MAX_META = 2**26
"""Bytes of video.json that are read; a million times of slow motion fit."""


def check_replaceable(folder: Path) -> None:
    """Make sure that a folder, if there is one, holds nothing but a clip, with or without layers.

    It is replaced as a whole, so nobody's notes or edits may be in it; hidden files are the system's.

    Raises:
        InputError: it does, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder")
    for path in folder.glob("[!.]*"):
        if LAYER_NAME.fullmatch(path.name) and path.is_dir():
            others = [inner.name for inner in path.glob("[!.]*") if inner.name not in FILES | {ALPHA}]
            others += [inner.name for inner in (path / ALPHA).glob("[!.]*") if not ALPHA_NAME.fullmatch(inner.name)]
        else:
            others = [] if path.name in FILES else [path.name]
        if others:
            raise InputError(f"{folder} holds something else than a clip ({others[0]}): choose another folder")


def replace_folder(new: Path, target: Path) -> None:
    """Move a finished folder to its place; what was there vanishes only when that has worked."""
    if not target.exists():
        new.rename(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)
