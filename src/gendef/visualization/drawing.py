"""Drawings: contact sheets, optical-flow colours, arrows, and the deformed grid of the canonical image.

Tracks and masks are drawn in `gendef.visualization.overlays`.

Pictures are uint8 RGB (H, W, 3); flows and positions are x then y.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gendef.video.flow import field_scale

INK = (30, 30, 30)
SMOOTH = 3
"""Supersampling factor of lines: Pillow does not anti-alias them."""


def text_image(text: str, size: int = 14, colour: tuple[int, int, int] = INK) -> np.ndarray:
    """A line of text on white, as high as its letters can be."""
    font = ImageFont.load_default(size)
    box = font.getbbox(text or " ")
    top, bottom = font.getbbox("Ág")[1], font.getbbox("Ág")[3]
    image = Image.new("RGB", (max(math.ceil(box[2]), 1), math.ceil(bottom - top) + 4), (255, 255, 255))
    ImageDraw.Draw(image).text((0, 2 - top), text, colour, font)
    return np.asarray(image)


def spread_frames(frames: int, count: int) -> list[int]:
    """Numbers of at most `count` frames, spread evenly from the first to the last."""
    return np.linspace(0, frames - 1, min(count, frames)).round().astype(int).tolist()


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    gap: int = 2,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    text_size: int = 14,
) -> np.ndarray:
    """Images, uint8 (H, W, 3) of one size, in rows of equal or different length, on white.

    Args:
        gap: white pixels around each image.
        row_labels: a text left of each row.
        column_labels: a text above each column.
    """
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    beside = [text_image(text, text_size) for text in row_labels]
    above = [text_image(text, text_size) for text in column_labels]
    left = max((text.shape[1] + 2 * gap for text in beside), default=0)
    top = max((text.shape[0] + gap for text in above), default=0)
    shape = (top + len(rows) * (height + gap) + gap, left + columns * (width + gap) + gap, 3)
    sheet = np.full(shape, 255, np.uint8)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            _paste(sheet, image, top + gap + r * (height + gap), left + gap + c * (width + gap))
    for r, text in enumerate(beside):
        _paste(sheet, text, top + gap + r * (height + gap) + (height - text.shape[0]) // 2, gap)
    for c, text in enumerate(above):
        _paste(sheet, text, gap, left + gap + c * (width + gap) + max((width - text.shape[1]) // 2, 0))
    return sheet


def _paste(sheet: np.ndarray, image: np.ndarray, top: int, left: int) -> None:
    """Put an image on a sheet, cut off where the sheet ends."""
    room = sheet[top : top + image.shape[0], left : left + image.shape[1]]
    room[:] = image[: room.shape[0], : room.shape[1]]


def side_by_side(images: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Images of any sizes in one row on white, centred."""
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    sheet = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for image in images:
        _paste(sheet, image, (height - image.shape[0]) // 2, left)
        left += image.shape[1] + gap
    return sheet


def colour_wheel() -> np.ndarray:
    """The 55 hues of Baker et al. 2007 (Middlebury flow), float (55, 3) in [0, 1]."""
    # From one pure colour to the next: the number of steps, the channel that stays full, the one that rises or falls.
    segments = ((15, 0, 1, 1), (6, 1, 0, -1), (4, 1, 2, 1), (11, 2, 1, -1), (13, 2, 0, 1), (6, 0, 2, -1))
    wheel = []
    for count, full, moving, direction in segments:
        colours = np.zeros((count, 3))
        ramp = np.arange(count) / count
        colours[:, full] = 1
        colours[:, moving] = ramp if direction > 0 else 1 - ramp
        wheel.append(colours)
    return np.concatenate(wheel)


def flow_colours(flow: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Flow (..., H, W, 2) as colours, uint8 (..., H, W, 3): hue is direction, saturation is speed.

    Zero is white, non-finite values are black, and speeds of at least `largest` (default: the maximum) are fully
    saturated.
    """
    known = np.isfinite(flow).all(axis=-1)
    flow = np.where(known[..., None], flow, 0)
    speed = np.linalg.norm(flow, axis=-1)
    largest = float(speed.max(initial=0)) if largest is None else largest
    radius = np.minimum(speed / max(largest, 1e-9), 1)[..., None]
    wheel = colour_wheel()
    position = (np.arctan2(-flow[..., 1], -flow[..., 0]) / math.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(position).astype(int)
    share = (position - low)[..., None]
    hue = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    return np.round(255 * (1 - radius * (1 - hue)) * known[..., None]).astype(np.uint8)


def field_pictures(deformation: Tensor) -> Iterator[np.ndarray]:
    """The fields (T, H, W, 2) of a clip in the colours of a flow, on one scale: uint8 (H, W, 3) for each frame."""
    height, width = deformation.shape[1:3]
    half, scale = np.array([width / 2, height / 2], np.float32), field_scale(deformation)
    return (flow_colours(field.numpy() * half, scale) for field in deformation)


def flow_legend(side: int, background: int = 255) -> np.ndarray:
    """The colours of all directions as a disc, (side, side, 3)."""
    y, x = (np.mgrid[:side, :side] + 0.5) * 2 / side - 1
    colours = flow_colours(np.stack((x, y), axis=-1), 1.0).astype(float)
    cover = np.clip((1 - np.hypot(x, y)) * side / 2 + 0.5, 0, 1)[..., None]
    return np.round(cover * colours + (1 - cover) * background).astype(np.uint8)


def draw_arrows(
    image: np.ndarray,
    flow: np.ndarray,
    step: int | None = None,
    stretch: float = 1.0,
    colour: tuple[int, int, int] = (255, 230, 60),
) -> np.ndarray:
    """The flow as arrows on an image.

    Args:
        image: uint8 (H, W, 3).
        flow: (h, w, 2), in pixels of its own grid, which may be coarser or finer than the image.
        step: image pixels from arrow to arrow; default a sixteenth of the shorter side.
        stretch: arrows are this many times longer than the motion.
    """
    height, width = image.shape[:2]
    step = step or max(min(height, width) // 16, 6)
    scale = np.array([width / flow.shape[1], height / flow.shape[0]])
    drawing = Image.new("L", (width * SMOOTH, height * SMOOTH))
    pen = ImageDraw.Draw(drawing)
    thick = max(round(SMOOTH * min(height, width) / 256), 2)
    for y in np.arange(step / 2, height, step):
        for x in np.arange(step / 2, width, step):
            moved = flow[int(y / scale[1]), int(x / scale[0])] * scale * stretch
            if np.isfinite(moved).all():
                _arrow(pen, np.array([x, y]) * SMOOTH, (np.array([x, y]) + moved) * SMOOTH, thick)
    cover = np.asarray(drawing.resize((width, height), Image.Resampling.BOX), float)[..., None] / 255
    # A dark outline keeps the arrows visible on bright pictures.
    rim = np.max([np.roll(cover, shift, axis) for axis in (0, 1) for shift in (-1, 1)], axis=0)
    dark = image * (1 - 0.55 * rim)
    return np.round(dark * (1 - cover) + np.array(colour) * cover).astype(np.uint8)


def _arrow(pen: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, thick: int) -> None:
    along = end - start
    length = float(np.hypot(*along))
    if length < 2 * thick:
        pen.ellipse([*(start - thick / 2), *(start + thick / 2)], fill=255)
        return
    along = along / length
    across = np.array([-along[1], along[0]])
    head = min(4.0 * thick, 0.6 * length)
    neck = end - head * along
    pen.line([*start, *neck], fill=255, width=thick)
    pen.polygon([tuple(end), tuple(neck + 0.45 * head * across), tuple(neck - 0.45 * head * across)], fill=255)


def bent_grid(
    positions: np.ndarray,
    image: np.ndarray | None = None,
    cells: int = 8,
    colour: tuple[int, int, int] = (20, 90, 160),
    thickness: float = 1.2,
) -> np.ndarray:
    """The regular grid of the canonical image, deformed as a frame shows it, on the frame or on white.

    Args:
        positions: (H, W, 2), normalised sampling positions: a field plus the identity grid.
        image: uint8 (H, W, 3) to draw on.
        cells: cells along the shorter side.
        thickness: of the lines, in pixels.
    """
    height, width = positions.shape[:2]
    ratio = np.array([width, height]) / min(width, height)
    place = positions * (cells / 2 * ratio)  # whole numbers on the lines
    gradient = np.hypot(_slope(place, 0), _slope(place, 1))
    distance = np.abs(place - np.round(place)) / np.maximum(gradient, 1e-6)  # in pixels of the frame
    cover = np.clip(thickness / 2 + 0.5 - distance, 0, 1).max(axis=-1)[..., None]
    below = np.full((height, width, 3), 255.0) if image is None else image
    return np.round(below * (1 - cover) + np.array(colour) * cover).astype(np.uint8)


def _slope(values: np.ndarray, axis: int) -> np.ndarray:
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)
