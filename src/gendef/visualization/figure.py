"""The paper's figure of a clip: its canonical image, and frames over time with the fields that make them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import identity_grid, resize_field
from gendef.media.images import resized, to_uint8
from gendef.video.base import Video
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.flow import field_scale
from gendef.video.layer import Layer
from gendef.visualization.drawing import (
    bent_grid,
    contact_sheet,
    flow_colours,
    flow_legend,
    side_by_side,
    spread_frames,
    text_image,
)

GAP = 4
VISIBLE = 0.5
"""Opacity of the frame under its grid."""


def figure(video: Video, count: int = 6, side: int = 176) -> np.ndarray:
    """The figure of a clip: canonical images, and frames spread over time with their fields.

    One layer: its canonical image at the left, and for each frame the frame, its field and the bent grid. Several: a
    row of frames, and below it a row for each layer: its canonical image, and the layer alone.

    Args:
        count: number of frames, fewer for shorter clips.
        side: shorter side of a frame in the figure, in pixels.

    Returns:
        uint8 (H, W, 3).

    Raises:
        InputError: `count` or `side` is too small.
    """
    if count < 1 or side < 16:
        raise InputError(f"a figure needs at least 1 frame and 16 pixels a side, got {count} and {side}")
    return _figure_of_layers(video, count, side) if len(video.layers) > 1 else _figure_of_image(video, count, side)


def _figure_of_image(clip: Video, count: int, side: int) -> np.ndarray:
    video: CanonicalVideo = clip.layers[0].video
    chosen = spread_frames(video.num_frames, count)
    size, text_size = scaled_size(video.size, side), max(side // 13, 11)
    painter = _FieldPainter(video)
    columns = []
    for frame, field in zip(to_uint8(video.render(size, chosen)), video.deformation[chosen], strict=True):
        columns.append((frame, *painter.paint(field, frame)))
    labels = [f"frame {t}" for t in chosen]
    right = contact_sheet(list(zip(*columns, strict=True)), GAP, column_labels=labels, text_size=text_size)
    canonical = fitted(video.canonical, (2 * size[0] + GAP, 4 * size[1]))
    words = ("field: offset of each pixel", "to its sampling position;", f"full colour: {painter.scale:.3g} pixels")
    legend = _stacked([text_image(line, text_size) for line in words], centred=False)
    left = _stacked(
        [
            text_image("canonical image", text_size),
            canonical,
            side_by_side([flow_legend(size[0] // 2), legend], 3 * GAP),
        ]
    )
    return np.pad(side_by_side([left, right], 4 * GAP), ((GAP, GAP), (2 * GAP, GAP), (0, 0)), constant_values=255)


def figure_frames(video: Video, side: int = 256) -> Iterator[np.ndarray]:
    """The figure as a video, one image per frame.

    One layer: canonical image, frame, field and bent grid side by side. Several: the frame, and each layer alone.

    Raises:
        InputError: `side` is too small.
    """
    if side < 16:
        raise InputError(f"a moving figure needs at least 16 pixels a side, got {side}")
    size, text_size = scaled_size(video.size, side), max(side // 16, 11)
    return (_layers_frames if len(video.layers) > 1 else _image_frames)(video, size, text_size)


def _image_frames(clip: Video, size: tuple[int, int], text_size: int) -> Iterator[np.ndarray]:
    video: CanonicalVideo = clip.layers[0].video
    painter = _FieldPainter(video)
    canonical = _titled(fitted(video.canonical, (size[0], 4 * size[1])), "canonical image", text_size)
    for frame, field in zip(video.iter_pictures(size), video.deformation, strict=True):
        pictures = zip((frame, *painter.paint(field, frame)), ("frame", "field", "grid"), strict=True)
        yield side_by_side([canonical, *(_titled(picture, title, text_size) for picture, title in pictures)], GAP)


def _figure_of_layers(video: Video, count: int, side: int) -> np.ndarray:
    chosen, size = spread_frames(video.num_frames, count), scaled_size(video.size, side)
    white = np.full((*size, 3), 255, np.uint8)
    rows, names = [[white, *to_uint8(video.render(size, chosen))]], ["all layers"]
    for number, layer in enumerate(video.layers):
        room, picture = white.copy(), fitted(layer.video.canonical, size)
        room[: picture.shape[0], : picture.shape[1]] = picture
        rows.append([room, *(_alone(layer, t, size) for t in chosen)])
        names.append(f"{number}: {layer.name}")
    labels = ["canonical image", *(f"frame {t}" for t in chosen)]
    return contact_sheet(rows, GAP, row_labels=names, column_labels=labels, text_size=max(side // 13, 11))


def _layers_frames(video: Video, size: tuple[int, int], text_size: int) -> Iterator[np.ndarray]:
    for t, frame in enumerate(video.iter_pictures(size)):
        pictures = [_titled(frame, "all layers", text_size)]
        for number, layer in enumerate(video.layers):
            pictures.append(_titled(_alone(layer, t, size), f"{number}: {layer.name}", text_size))
        yield side_by_side(pictures, GAP)


def _alone(layer: Layer[CanonicalVideo], frame: int, size: tuple[int, int]) -> np.ndarray:
    """A frame of a layer on white, uint8 (H, W, 3)."""
    if not layer.start <= frame < layer.end:
        return np.full((*size, 3), 255, np.uint8)
    shown = layer.video.render(size, [frame - layer.start])[0]
    return to_uint8(torch.lerp(torch.ones_like(shown), shown, resized(layer.opacity(frame)[None], size)))


class _FieldPainter:
    """Draws the fields of one clip on a common scale.

    Attributes:
        scale: offset, in frame pixels, of full saturation: the 99th percentile.
    """

    def __init__(self, video: CanonicalVideo) -> None:
        self._half = torch.tensor([video.size[1] / 2, video.size[0] / 2])
        self.scale = field_scale(video.deformation)

    def paint(self, field: Tensor, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A field (h, w, 2) at the size of a frame: in the usual colours, and as a bent grid on the faded frame."""
        size = frame.shape[:2]
        field = resize_field(field[None], size)[0]
        positions = identity_grid(*size) + field
        faded = np.uint8(255 - VISIBLE * (255 - frame.astype(float)))
        thickness = max(min(size) / 128, 1.2)
        grid = bent_grid(positions.numpy(), faded, thickness=thickness)
        return flow_colours((field * self._half).numpy(), self.scale), grid


def scaled_size(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """A height and width with the shorter side scaled to `side`; unchanged for None.

    Raises:
        InputError: the side is not positive.
    """
    if side is None:
        return size
    if side < 1:
        raise InputError(f"the shorter side must be at least 1 pixel, got {side}")
    scale = side / min(size)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def fitted(image: Tensor, room: tuple[int, int]) -> np.ndarray:
    """An image (3, H, W) as large as fits into the room, as uint8."""
    scale = min(room[0] / image.shape[1], room[1] / image.shape[2])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[2] * scale), 1))
    return to_uint8(resized(image, size))


def _titled(image: np.ndarray, title: str, text_size: int) -> np.ndarray:
    return _stacked([text_image(title, text_size), image])


def _stacked(images: Sequence[np.ndarray], centred: bool = True) -> np.ndarray:
    """Images of any sizes one below the other on white."""
    width = max(image.shape[1] for image in images)
    rows = []
    for image in images:
        left = (width - image.shape[1]) // 2 if centred else 0
        around = ((0, GAP), (left, width - image.shape[1] - left), (0, 0))
        rows.append(np.pad(image, around, constant_values=255))
    return np.concatenate(rows)
