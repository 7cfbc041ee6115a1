"""Drawings on frames: tracked points with fading trails, and masks as coloured overlays with an outline.

Pictures are uint8 RGB (H, W, 3); positions are x then y in their pixels, the centre of the top-left pixel at (0, 0).
"""

import colorsys

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from gendef.visualization.drawing import SMOOTH

RIM = (20, 20, 20)


def point_colours(positions: np.ndarray) -> np.ndarray:
    """A colour for each point (N, 2), uint8 (N, 3): the hue runs from one corner to the opposite one."""
    place = positions.sum(axis=1)
    order = (place - place.min()) / max(float(np.ptp(place)), 1e-9)
    return np.array([np.multiply(colorsys.hsv_to_rgb(0.85 * hue, 0.85, 1), 255) for hue in order], np.uint8)


def draw_tracks(
    image: np.ndarray, trails: np.ndarray, visible: np.ndarray, colours: np.ndarray, radius: float | None = None
) -> np.ndarray:
    """Draw points with fading trails.

    Args:
        image: uint8 (H, W, 3).
        trails: (N, L, 2), positions in the last L frames, the current one last.
        visible: (N, L); invisible positions are not drawn.
        colours: uint8 (N, 3).
        radius: of a point, in pixels; default a hundredth of the shorter side.
    """
    height, width = image.shape[:2]
    radius = (radius or max(min(height, width) / 100, 1.5)) * SMOOTH
    layer = Image.new("RGBA", (width * SMOOTH, height * SMOOTH))
    pen = ImageDraw.Draw(layer)
    places = (trails + 0.5) * SMOOTH
    length = trails.shape[1]
    for step in range(1, length):  # older parts first, so that newer ones lie on top
        alpha = round(230 * step / (length - 1))
        thick = max(round(radius * (0.4 + 0.8 * step / (length - 1))), 1)
        for n in np.flatnonzero(visible[:, step - 1] & visible[:, step]):
            pen.line([*places[n, step - 1], *places[n, step]], fill=(*colours[n].tolist(), alpha), width=thick)
    for n in np.flatnonzero(visible[:, -1]):
        for reach, colour in ((radius * 1.35, RIM), (radius, colours[n].tolist())):
            pen.ellipse([*(places[n, -1] - reach), *(places[n, -1] + reach)], fill=(*colour, 255))
    small = layer.resize((width, height), Image.Resampling.BOX)
    return np.asarray(Image.alpha_composite(Image.fromarray(image).convert("RGBA"), small).convert("RGB"))


def label_palette(count: int = 256) -> np.ndarray:
    """Colours of labels, uint8 (count, 3): black for the background, then hues in steps of the golden ratio."""
    golden = (5**0.5 - 1) / 2
    hues = [colorsys.hsv_to_rgb(n * golden % 1, 0.75, 1 - 0.25 * (n // 8 % 3)) for n in range(count - 1)]
    return np.round(255 * np.array([(0, 0, 0), *hues])).astype(np.uint8)


def draw_labels(
    image: np.ndarray, labels: np.ndarray, strength: float = 0.4, thickness: int | None = None
) -> np.ndarray:
    """Draw labels as coloured overlays with an outline.

    Args:
        image: uint8 (H, W, 3).
        labels: bool or integer (h, w), of any resolution; 0 is not drawn.
        strength: opacity of the overlay.
        thickness: of the outline, in pixels; default a 200th of the shorter side.
    """
    height, width = image.shape[:2]
    thickness = thickness or max(round(min(height, width) / 200), 1)
    palette = label_palette()
    drawn = image.astype(float)
    for value in np.unique(labels[labels > 0]):
        cover = Image.fromarray((labels == value).astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
        region = np.asarray(cover) > 0.5
        colour = palette[1 + (int(value) - 1) % (len(palette) - 1)].astype(float)
        drawn[region] = (1 - strength) * drawn[region] + strength * colour
        inner = binary_erosion(region, iterations=thickness, border_value=1)
        drawn[region & ~inner] = colour
    return np.round(drawn).astype(np.uint8)
