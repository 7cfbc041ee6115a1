"""Masks that say which pixels belong to which layer: read from a folder, or that of one frame carried to all."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gendef.applications.propagate import propagate
from gendef.applications.segment import fitting_labels, resized_labels
from gendef.errors import InputError
from gendef.fitting.source import Footage, Scene
from gendef.media.images import read_image

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
MOST_LABELS = 20
"""Layers before the background, at most: more are not a few things but an oversegmentation."""


def layer_masks(
    masks: str | Path, footage: Footage, scene: Scene, on_frame: Callable[[int], None] = lambda done: None
) -> Tensor:
    """Labels of a scene's frames, (T, H, W) uint8: 0 the background, 1, 2, ... the layers before it.

    Args:
        masks: a folder, see `read_masks`; or one picture, the mask of the first frame, which is carried to the others
            by features that look alike (`gendef.applications.propagate`).
        on_frame: called with the number of frames that are done, while a mask is carried.

    Raises:
        InputError: as `read_masks`, or one mask is given for a video with cuts.
        MissingDependencyError: for one mask, the package with the weights of the features is not installed.
    """
    size = (scene.frames[0].shape[0], scene.frames[0].shape[1])
    path = Path(masks)
    if not path.is_file():
        return read_masks(path, scene.numbers, size)
    if len(footage.scenes) > 1:
        raise InputError(
            f"{path} is the mask of one frame, and the video has {len(footage.scenes)} scenes: choose one by start and "
            "number of frames, or make masks of each with gendef segment"
        )
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        on_frame(done)

    try:
        return compact_labels(propagate(scene.frames, read_image(path), on_frame=one_more))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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
    values = [int(value) for value in labels.unique() if value]
    if not values:
        raise InputError("the masks are empty: nothing is before the background")
    if len(values) > MOST_LABELS:
        raise InputError(f"the masks hold {len(values)} labels: at most {MOST_LABELS} layers can be fitted")
    result = torch.zeros(labels.shape, dtype=torch.uint8)
    for number, value in enumerate(values, 1):
        result[labels == value] = number
    return result
