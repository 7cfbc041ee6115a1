"""Masks that say which pixels of which frame belong to which layer: read from a folder, and brought to the frames."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gendef.applications.segment import fitting_labels, resized_labels
from gendef.errors import InputError
from gendef.media.images import read_image

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
MOST_LABELS = 20
"""Layers before the background, at most: more are not a few things but an oversegmentation."""


def read_masks(folder: str | Path, numbers: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Labels of frames, (T, H, W) uint8: 0 the background, 1, 2, ... the layers before it.

    Args:
        folder: pictures, black and white or labels (see `gendef.applications.segment.to_labels`), one for each frame of
            the source in the order of their names, or one for each of `numbers`; or the folder that `gendef segment`
            wrote, which holds them in `masks`.
        numbers: of the frames in their source.
        size: height and width of the frames.

    Raises:
        InputError: there are too few masks, one does not fit or cannot be read, or there are too many labels or none.
    """
    folder = Path(folder)
    if (folder / "masks").is_dir():
        folder = folder / "masks"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: masks are pictures in a folder, one for each frame")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if len(paths) > max(numbers):
        paths = [paths[number] for number in numbers]
    elif len(paths) != len(numbers):
        raise InputError(f"{folder} holds {len(paths)} masks, and frame {max(numbers)} of the video needs one too")
    labels = []
    for path in paths:
        try:
            given = fitting_labels(read_image(path), size, "a frame")
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        labels.append(resized_labels(given, size).long())
    return compact_labels(torch.stack(labels))


def compact_labels(labels: Tensor) -> Tensor:
    """Labels (T, H, W) numbered anew as uint8 without gaps, the background staying 0.

    Raises:
        InputError: there are more than `MOST_LABELS`, or none.
    """
    values = [value for value in labels.unique().tolist() if value]
    if not values:
        raise InputError("the masks are empty: nothing is before the background")
    if len(values) > MOST_LABELS:
        raise InputError(f"the masks hold {len(values)} labels: at most {MOST_LABELS} layers can be fitted")
    result = torch.zeros(labels.shape, dtype=torch.uint8)
    for number, value in enumerate(values, 1):
        result[labels == value] = number
    return result
