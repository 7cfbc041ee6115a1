"""Reading one video, one mask sequence or one file of tracks for measuring."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from gendef.errors import DataError
from gendef.media.images import to_uint8
from gendef.media.sources import discover
from gendef.media.video_reader import (
    Damage,
    read_frames,
)
from gendef.media.zips import natural_key
from gendef.video.clip_format import META
from gendef.video.layered_video import load_clip


def iter_video(path: str | Path) -> Iterator[np.ndarray]:
    """Frames of one video, uint8 RGB (H, W, 3): a video file, a folder of frames, or a saved clip, rendered.

    Raises:
        DataError: it holds no video or several, or a frame is damaged.
    """
    path = Path(path)
    if (path / META).is_file():
        for chunk in load_clip(path).iter_frames():
            yield from to_uint8(chunk)
        return
    sources = discover([path])
    if len(sources) != 1:
        raise DataError(f"{path} holds {len(sources)} videos; name one")
    for frame in read_frames(sources[0]):
        if isinstance(frame, Damage):
            raise DataError(f"{path} is damaged: {frame.where}: {frame.reason}")
        yield frame.image


def read_masks(folder: str | Path) -> dict[str, np.ndarray]:
    """Label maps (H, W) of a folder of PNG, by file name, in natural order.

    Pictures with a palette hold labels as indices. Grey and black-and-white ones hold labels as values, unless those
    are only 0 and 255: then they are masks.

    Raises:
        DataError: there are none, or one is in colours.
    """
    folder = Path(folder)
    files = sorted((path for path in folder.glob("*.png")), key=lambda path: natural_key(path.name))
    if not files:
        raise DataError(f"{folder} holds no masks: a folder of PNG files is expected, one for each frame")
    masks = {path.stem: _read_mask(path) for path in files}
    if all(np.isin(mask, (0, 255)).all() for mask in masks.values()):
        return {name: (mask > 0).astype(np.int64) for name, mask in masks.items()}
    return masks


def _read_mask(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P", "I", "I;16"):
                raise DataError(f"{path} is in colours ({image.mode}); masks are grey or have a palette")
            return np.asarray(image).astype(np.int64)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is not a readable image: {error}") from error


def read_tracks(path: str | Path) -> dict[str, Any]:
    """Arrays of an .npz of tracks: at least positions (N, T, 2) in pixels and visible (N, T).

    Raises:
        DataError: it is none, or an array is missing.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, BadZipFile, AttributeError) as error:
        raise DataError(f"{path} cannot be read as an .npz of tracks: {error}") from error
    missing = {"positions", "visible"} - set(arrays)
    if missing:
        raise DataError(f"{path} lacks {' and '.join(sorted(missing))}; it holds {', '.join(arrays) or 'nothing'}")
    return arrays
