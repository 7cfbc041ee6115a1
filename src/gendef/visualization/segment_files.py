"""Writing masks and label maps as files and drawings."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from gendef.errors import InputError
from gendef.media.images import resized, to_uint8
from gendef.runtime.atomic_file import replacing
from gendef.runtime.atomic_folder import staged
from gendef.video.base import Video
from gendef.video.layered_format import layer_name
from gendef.visualization.overlays import draw_labels, label_palette
from gendef.visualization.sheets import drawing_size, enlarged_frames, write_drawings


def write_masks(
    video: Video,
    masks: Tensor,
    canonical: Sequence[Tensor],
    folder: str | Path,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Write masks of a clip into a folder, all of the files or none.

    - `masks/00000.png` and so on: one for each frame; masks are black and white, labels the indices of a palette.
    - `canonical_mask.png`: the same on the canonical image; in a video of several layers `canonical_mask_layer00.png`
      and so on.
    - `overlay.mp4`: the video with the labels as coloured overlays with an outline.
    - `segments.png`: a sheet, the canonical image and frames spread over the video.

    Args:
        masks: (T, H, W), bool or integer.
        canonical: the same on the canonical image (Hc, Wc) of each layer; see `Video.canonical_labels`.
        on_frame: called after every drawn frame.

    Raises:
        InputError: `folder` is a file, or labels exceed 65535.
    """
    size = drawing_size(video.size)
    with staged(Path(folder)) as stage:
        sheet = {}
        for number, ((name, picture), plane) in enumerate(zip(video.canonical_images, canonical, strict=True)):
            suffix = "" if len(canonical) == 1 else f"_{layer_name(number)}"
            write_labels(stage / f"canonical_mask{suffix}.png", plane.numpy())
            sheet[name] = draw_labels(to_uint8(resized(picture, size)), plane.numpy())
        drawn = drawn_masks(video, masks, size)
        _write_frames(stage, masks, drawn, video.fps, sheet, range(video.num_frames), on_frame)


def write_masks_of_frames(
    frames: Sequence[np.ndarray],
    fps: float,
    masks: Tensor,
    folder: str | Path,
    numbers: Sequence[int],
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Write masks of a video's frames, uint8 (H, W, 3), as `write_masks` does; there is no canonical image.

    Args:
        numbers: of the frames, by which masks are named.

    Raises:
        InputError: as there.
    """
    drawn = (draw_labels(frame, mask.numpy()) for frame, mask in zip(enlarged_frames(frames), masks, strict=True))
    with staged(Path(folder)) as stage:
        _write_frames(stage, masks, drawn, fps, {}, numbers, on_frame)


def _write_frames(
    stage: Path,
    masks: Tensor,
    drawn: Iterable[np.ndarray],
    fps: float,
    first: dict[str, np.ndarray],
    numbers: Sequence[int],
    on_frame: Callable[[], None],
) -> None:
    """Write the mask of each frame, the video of drawn frames, and a sheet that begins with the pictures of `first`."""
    for number, mask in zip(numbers, masks, strict=True):
        write_labels(stage / "masks" / f"{number:05d}.png", mask.numpy())
    write_drawings(stage / "overlay.mp4", stage / "segments.png", drawn, fps, first, numbers, on_frame)


def drawn_masks(video: Video, masks: Tensor, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Frames, uint8 (H, W, 3) of `size`, with labels as overlays."""
    for frame, mask in zip(video.iter_pictures(size), masks, strict=True):
        yield draw_labels(frame, mask.numpy())


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Write bool (H, W) as black and white PNG; labels up to 255 as indices of a palette, up to 65535 as 16-bit grey.

    Raises:
        InputError: larger labels.
    """
    largest = int(labels.max())
    if labels.dtype == bool:
        image = Image.fromarray(np.where(labels, np.uint8(255), np.uint8(0)))
    elif largest < 256:
        image = Image.fromarray(labels.astype(np.uint8)).convert("L")
        image.putpalette(label_palette().ravel().tolist())
    elif largest < 65536:
        image = Image.fromarray(labels.astype(np.uint16))
    else:
        raise InputError(f"labels up to 65535 can be written as PNG, got {largest}: renumber them")
    with replacing(path) as temporary:
        image.save(temporary)
