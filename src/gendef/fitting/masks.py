"""Layer masks: read from a folder for every frame, or propagated from one frame."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gendef.correspondence.mask_propagation import MOST_LABELS, propagate_mask
from gendef.errors import InputError
from gendef.media.footage import Footage, Scene
from gendef.media.images import read_image
from gendef.video.label_transfer import labels_for_size, resized_labels

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")


def layer_masks(
    masks: str | Path, footage: Footage, on_frame: Callable[[int], None] = lambda done: None
) -> list[Tensor | None]:
    """Labels of each scene's frames, (T, H, W) uint8: 0 for the background, 1, 2, ... for the layers in front of it.

    None for a scene without labels.

    Args:
        masks: a folder, see `read_masks`; or one picture, the mask of the first frame, which is propagated through its
            scene (`gendef.correspondence.mask_propagation`).
        on_frame: called with the number of finished frames while a mask is propagated.

    Raises:
        InputError: as `read_masks`; also if all masks are empty, or the picture is not a mask.
        MissingDependencyError: for a picture, the package with the weights of the features is not installed.
    """
    path = Path(masks)
    if not path.exists():
        raise InputError(f"{path} does not exist: name a folder of masks, or a picture of the first frame's mask")
    if path.is_file():
        found: list[Tensor | None] = [None] * len(footage.scenes)
        found[0] = _carried(path, footage.scenes[0], on_frame)
        return found
    labels = [read_masks(path, scene.numbers, _size(scene)) for scene in footage.scenes]
    if not any(bool(one.any()) for one in labels):
        raise InputError(f"{path}: no mask has a foreground pixel")
    return [compact_labels(one) if bool(one.any()) else None for one in labels]


def _size(scene: Scene) -> tuple[int, int]:
    return scene.frames[0].shape[0], scene.frames[0].shape[1]


def _carried(path: Path, scene: Scene, on_frame: Callable[[int], None]) -> Tensor:
    """The mask of a scene's first frame, propagated to all its frames."""
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        on_frame(done)

    picture = read_image(path)
    try:
        return compact_labels(propagate_mask(scene.frames, picture, on_frame=one_more))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_masks(folder: str | Path, numbers: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Read the labels of frames, (T, H, W) int64.

    Args:
        folder: of pictures (see `gendef.video.label_transfer.to_labels`), or the output folder of `gendef segment`.
            File names are frame numbers if they are numeric, all of `numbers` occur, and the first is not 1 (except in
            the output of `gendef segment`). Otherwise the sorted files belong to the frames of the source in order, or
            to `numbers` in order.
        numbers: frame numbers in the source.
        size: height and width of the frames.

    Raises:
        InputError: there are too few masks, or one does not fit or cannot be read.
    """
    folder = Path(folder)
    ours = (folder / "masks").is_dir()
    if ours:
        folder = folder / "masks"
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    named = {int(path.stem): path for path in paths if path.stem.isdecimal()}
    if named and (ours or min(named) != 1) and all(number in named for number in numbers):
        paths = [named[number] for number in numbers]
    elif len(paths) > max(numbers):
        paths = [paths[number] for number in numbers]
    elif len(paths) != len(numbers):
        raise InputError(f"{folder} holds {len(paths)} masks, but frame {max(numbers)} of the video needs one")
    labels = []
    for path in paths:
        picture = read_image(path)
        try:
            given = labels_for_size(picture, size, "a frame")
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        labels.append(resized_labels(given, size).long())
    return torch.stack(labels)


def compact_labels(labels: Tensor) -> Tensor:
    """Labels (T, H, W) renumbered without gaps, as uint8; the background stays 0.

    Raises:
        InputError: there are more than `MOST_LABELS`, or none.
    """
    values = [int(value) for value in labels.unique() if value]
    if not values:
        raise InputError("no mask has a foreground pixel")
    if len(values) > MOST_LABELS:
        raise InputError(f"the masks hold {len(values)} labels: at most {MOST_LABELS} layers can be fitted")
    result = torch.zeros(labels.shape, dtype=torch.uint8)
    for number, value in enumerate(values, 1):
        result[labels == value] = number
    return result
