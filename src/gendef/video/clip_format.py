"""The clip folder: `canonical.png`, `deformation.safetensors`, `video.json` and `preview.mp4`.

`visibility.safetensors` (one bit per pixel) and `illumination.safetensors` are optional.

`deformation.safetensors` holds the field and the canonical image in float32. `canonical.png` is an editable copy with 8
bits: if its pixels differ from those that were saved (`canonical_sha256`), it replaces the float32 image.

`gendef.video.clip_reader` reads the folder, `gendef.video.clip_writer` writes it.
"""

import re
from pathlib import Path

from gendef.errors import InputError

FORMAT, FORMAT_VERSION, LAYERED_VERSION = "gendef-clip", 1, 2
CANONICAL, FIELD, META, PREVIEW = "canonical.png", "deformation.safetensors", "video.json", "preview.mp4"
VISIBILITY, ILLUMINATION = "visibility.safetensors", "illumination.safetensors"
FORMER_ILLUMINATION = "residual"
"""Name of the illumination in `video.json`, of its file and of its tensor in clips saved before it was renamed."""
FILES = {CANONICAL, FIELD, META, PREVIEW, VISIBILITY, ILLUMINATION, f"{FORMER_ILLUMINATION}.safetensors"}
ALPHA = "alpha"
"""Folder of the alpha images of a layer."""
LAYER_NAME, ALPHA_NAME = re.compile(r"layer\d{2,}"), re.compile(r"\d{5,}\.png")
COORDINATES = "offsets to normalised canonical coordinates, x then y, -1 and 1 at the outer edges (align_corners=False)"
MAX_HEADER = 2**20
"""Largest accepted safetensors header, in bytes; two tensors need 200."""
LARGE = 2**22
"""Values of a canonical image from which on its PNG is compressed fast rather than small."""
MAX_META = 2**26
"""Largest accepted `video.json`, in bytes; enough for a million frame times."""


def check_replaceable(folder: Path) -> None:
    """Check that a folder is absent or holds nothing but a clip, with or without layers.

    Saving replaces the folder as a whole, so other files in it would be lost. Hidden files are ignored.

    Raises:
        InputError: the path is a file, or the folder holds other files.
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
            raise InputError(f"{folder} holds files that are not part of a clip ({others[0]}): choose another folder")
