"""A clip from anybody's STMaps and a plate."""

import re
from pathlib import Path

import numpy as np
import torch

from gendef.errors import InputError
from gendef.interchange.stmap import from_stmap
from gendef.media.exr import read_exr
from gendef.media.images import read_image
from gendef.media.zips import natural_key
from gendef.video.canonical_video import CanonicalVideo

SKIPPED = re.compile(r"inverse|canonical", re.I)
"""Files of an export that are no maps into the canonical image."""
SHOWN = 0.5
"""Alpha from which on a pixel counts as visible."""


def import_stmaps(folder: str | Path, canonical: str | Path, fps: float = 25.0) -> CanonicalVideo:
    """A clip of the STMaps in a folder, EXR files in natural order, and a picture for them to look into.

    R is u and G is v, as `gendef.interchange.stmap` says; A, where there is one, is the visibility.

    Args:
        canonical: EXR (linear light) or any picture (sRGB).
        fps: frames a second.

    Raises:
        InputError: there are no maps, they differ in size, or a file has no channels R and G.
        DataError: a file is damaged.
        MissingDependencyError: OpenEXR is not installed.
    """
    folder, canonical = Path(folder), Path(canonical)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of STMaps")
    paths = [path for path in folder.iterdir() if path.suffix.lower() == ".exr" and not SKIPPED.search(path.name)]
    if not paths:
        raise InputError(f"{folder} holds no STMaps (.exr)")
    fields: list[torch.Tensor] = []
    visible: list[torch.Tensor | None] = []
    for path in sorted(paths, key=lambda path: natural_key(path.name)):
        channels = read_exr(path)
        if not {"R", "G"} <= set(channels):
            raise InputError(f"{path} has no channels R and G; it has {', '.join(sorted(channels))}")
        field = from_stmap(np.stack((channels["R"], channels["G"]), axis=-1))
        if fields and field.shape != fields[0].shape:
            raise InputError(f"{path} is of another size than the maps before it")
        fields.append(field)
        visible.append(torch.from_numpy(channels["A"] >= SHOWN) if "A" in channels else None)
    shown = [mask for mask in visible if mask is not None]
    return CanonicalVideo(
        read_image(canonical),
        torch.stack(fields),
        fps,
        info={"kind": "import", "stmaps": folder.name, "canonical": canonical.name},
        visibility=torch.stack(shown) if len(shown) == len(fields) else None,
    )
