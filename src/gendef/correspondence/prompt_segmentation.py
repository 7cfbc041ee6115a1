"""Interactive segmentation of one image from clicks and a box: random walker, GrabCut, or SAM 2."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion, binary_fill_holes, gaussian_filter, label

from gendef.errors import InputError, MissingDependencyError
from gendef.runtime.optional_imports import import_cv2

Method = Literal["grabcut", "walk", "sam2"]
Point = Sequence[float]
Box = Sequence[float]
PixelBox = tuple[int, int, int, int]
WALK_SIDE = 160
"""Largest shorter side of the image for the random walker."""
SEED_SHARE = 0.012
"""Radius of a click's seed region, as a share of the shorter side."""
SHARPNESS = 4.0
"""Exponent of the edge weights per mean squared colour difference of neighbours."""
LEVELS = np.geomspace(0.01, 0.6, 40)
"""Probability levels, among which the outline is chosen."""
CUT_SIDE = 256
"""Largest shorter side of the image for GrabCut."""
CUT_ROUNDS = 5
LEFT_SHARE = 0.25
"""Least share of the random walker's area that GrabCut must keep; otherwise the random walker's mask is used."""
SAM2_MODEL = "facebook/sam2.1-hiera-small"


def mask_from_prompts(
    image: np.ndarray,
    clicks: Sequence[Point] = (),
    box: Box | None = None,
    not_clicks: Sequence[Point] = (),
    method: Method = "grabcut",
) -> np.ndarray:
    """Segment the marked object, bool (H, W).

    Args:
        image: uint8 (H, W, 3).
        clicks: points (x, y) on the object, in pixels.
        box: x0, y0, x1, y1 around the object, in pixels.
        not_clicks: points on the background.
        method: "walk": scikit-image's random walker (Grady 2006); "grabcut": its result, or the box, refined by
            OpenCV's GrabCut (Rother et al. 2004); "sam2": Segment Anything 2, from its own package.

    Raises:
        InputError: nothing is marked, a point is outside the image, the box is empty, no object is found, or the
            package sam2 is not installed.
        MissingDependencyError: scikit-image, or for "grabcut" OpenCV, is not installed.
    """
    if not clicks and box is None:
        raise InputError("no object is marked: give a click on it or a box around it")
    size = image.shape[:2]
    for point in [*clicks, *not_clicks]:
        _checked_point(point, size)
    pixel_box = None if box is None else _checked_box(box, size)
    if method == "sam2":
        mask = _sam2(image, clicks, pixel_box, not_clicks)
    else:
        mask = _walked(image, clicks, pixel_box, not_clicks)
        if method == "grabcut":
            cut = _cut(image, mask, clicks, pixel_box, not_clicks)
            # If object and background have the same colours, GrabCut keeps almost nothing.
            mask = cut if cut.sum() > LEFT_SHARE * mask.sum() else mask
        mask = _tidied(mask, clicks)
    if not mask.any():
        raise InputError("no object was found: click its centre, or draw a tighter box")
    return mask


def _checked_point(point: Point, size: tuple[int, int]) -> None:
    x, y = point
    if not (-0.5 <= x <= size[1] - 0.5 and -0.5 <= y <= size[0] - 0.5):
        raise InputError(f"the click {x:g},{y:g} is outside the picture of {size[1]}x{size[0]} pixels")


def _checked_box(box: Box, size: tuple[int, int]) -> PixelBox:
    """The box in integer pixels: left, top, right, bottom; right and bottom are exclusive."""
    x0, y0, x1, y1 = box
    left, top = max(round(x0), 0), max(round(y0), 0)
    right, bottom = min(round(x1) + 1, size[1]), min(round(y1) + 1, size[0])
    if right - left < 2 or bottom - top < 2:
        shown = ",".join(f"{value:g}" for value in box)
        raise InputError(
            f"the box {shown} contains no pixels of the picture of {size[1]}x{size[0]} pixels: give x0,y0,x1,y1"
        )
    return left, top, right, bottom


def _discs(points: Sequence[Point], size: tuple[int, int]) -> np.ndarray:
    """Discs around points, bool (H, W), of at least one pixel."""
    y, x = np.mgrid[: size[0], : size[1]]
    radius = max(SEED_SHARE * min(size), 0.75)
    near = np.zeros(size, bool)
    for column, row in points:
        near |= np.hypot(x - round(column), y - round(row)) <= radius
    return near


def _seeds(
    clicks: Sequence[Point], box: PixelBox | None, not_clicks: Sequence[Point], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Seed regions of object and background, bool (H, W) each."""
    inside, outside = _discs(clicks, size), np.zeros(size, bool)
    if box is not None:
        left, top, right, bottom = box
        outside[:] = True
        outside[top:bottom, left:right] = False
    if box is None or not outside.any():
        # Without a box, the border of the image is taken as background.
        outside[[0, -1]] = outside[:, [0, -1]] = True
    if not clicks and box is not None:
        left, top, right, bottom = box
        inside |= _discs([((left + right - 1) / 2, (top + bottom - 1) / 2)], size)
    outside |= _discs(not_clicks, size)
    outside &= ~_discs(clicks, size)
    return inside & ~outside, outside


def _walked(
    image: np.ndarray, clicks: Sequence[Point], box: PixelBox | None, not_clicks: Sequence[Point]
) -> np.ndarray:
    """Segment by the random walker: pixels whose probability exceeds the level of the strongest outline."""
    full = image.shape[:2]
    seeds = _seeds(clicks, box, not_clicks, full)
    size = _reduced_size(full, WALK_SIDE)
    small = gaussian_filter(_reduced_image(image, size).astype(float) / 255, (0.7, 0.7, 0))
    inside, outside = (_reduced_mask(mask, size) for mask in seeds)
    outside &= ~inside
    chance = _chances(small, inside, outside)
    return _enlarged(chance, full) > _level(small, chance, inside)


def _chances(image: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Probability (H, W) that a random walk from a pixel of (H, W, 3) reaches `inside` before `outside`.

    Grady 2006, equations 3 (weights) and 10.

    Raises:
        MissingDependencyError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import random_walker
    except ImportError as error:
        raise MissingDependencyError("scikit-image", "fit", "to find an object by random walks") from error
    if (inside | outside).all() or not outside.any():
        return inside.astype(float) if outside.any() else np.ones(inside.shape)
    # scikit-image divides by the standard deviation of all values: a constant channel keeps it positive.
    data = np.concatenate((image, np.full_like(image[..., :1], 2)), axis=-1)
    squares = [np.square(np.diff(image, axis=axis)).sum(axis=-1).ravel() for axis in (0, 1)]
    mean = max(float(np.concatenate(squares).mean()), 1e-8)
    # Its weights are exp(-beta |difference|^2 / (10 std sqrt(channels))).
    beta = SHARPNESS / mean * 10 * float(data.std()) * data.shape[-1] ** 0.5
    labels = np.where(inside, 1, np.where(outside, 2, 0))
    # The direct solver: "cg_j" is as fast, but leaves the range of probabilities at its default tolerance.
    chances = random_walker(data, labels, beta=beta, mode="bf", return_full_prob=True, channel_axis=-1)
    return np.asarray(chances[0], float)


def _level(image: np.ndarray, chance: np.ndarray, inside: np.ndarray) -> float:
    """The level of `chance` whose outline has the strongest mean image gradient.

    The level 0.5 is too close to the click, because the click is small and the background seeds are large.
    """
    edges = np.sqrt(sum((np.gradient(image, axis=axis) ** 2).sum(axis=-1) for axis in (0, 1)))
    best, strongest = 0.5, -1.0
    for level in LEVELS:
        region = chance > level
        outline = region & ~binary_erosion(region, border_value=1)
        if region.sum() > 1.5 * inside.sum() and outline.any():
            strength = float(edges[outline].mean())
            if strength > strongest:
                best, strongest = float(level), strength
    return best


def _reduced_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(side / min(size), 1)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _reduced_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def _reduced_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Downsample a mask; a pixel is True where any of the pixels it covers is."""
    rows, columns = np.nonzero(mask)
    small = np.zeros(size, bool)
    small[rows * size[0] // mask.shape[0], columns * size[1] // mask.shape[1]] = True
    return small


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC))


def _cut(
    image: np.ndarray, guess: np.ndarray, clicks: Sequence[Point], box: PixelBox | None, not_clicks: Sequence[Point]
) -> np.ndarray:
    """Refine a mask by GrabCut, from the mask or from the box if there is one."""
    cv2 = import_cv2("fit", "for GrabCut (method walk does not need it)")
    full = image.shape[:2]
    size = _reduced_size(full, CUT_SIDE)
    inside, outside = _seeds(clicks, box, not_clicks, full)
    probable = _reduced_mask(guess if box is None else ~outside, size)
    trimap = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    # The image border is only assumed to be background, while box and clicks are given by the user.
    surely_not = _discs(not_clicks, full) if box is None else outside
    trimap[_reduced_mask(surely_not, size) & ~probable] = cv2.GC_BGD
    trimap[_reduced_mask(_discs(not_clicks, full), size)] = cv2.GC_BGD
    if clicks:
        trimap[_reduced_mask(inside, size)] = cv2.GC_FGD
    if np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)).all():
        return guess
    cv2.setRNGSeed(0)
    pixels = np.ascontiguousarray(_reduced_image(image, size)[..., ::-1])
    models = [np.zeros((1, 65)), np.zeros((1, 65))]
    cv2.grabCut(pixels, trimap, (0, 0, 1, 1), models[0], models[1], CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    return _enlarged(np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)), full) > 0.5


def _tidied(mask: np.ndarray, clicks: Sequence[Point]) -> np.ndarray:
    """The clicked connected components, or the largest one, without holes."""
    pieces, count = label(mask)
    if count == 0:
        return mask
    height, width = mask.shape
    wanted = {int(pieces[min(max(round(y), 0), height - 1), min(max(round(x), 0), width - 1)]) for x, y in clicks} - {0}
    if not wanted:
        wanted = {int(np.bincount(pieces.ravel())[1:].argmax()) + 1}
    return binary_fill_holes(np.isin(pieces, list(wanted)))


def _sam2(image: np.ndarray, clicks: Sequence[Point], box: PixelBox | None, not_clicks: Sequence[Point]) -> np.ndarray:
    """The mask with the highest score of SAM 2."""
    try:
        from sam2.sam2_image_predictor import SAM2ImagePredictor
    except ImportError:
        raise InputError(
            "method sam2 needs the package sam2: install it with  pip install sam2,  or use grabcut"
        ) from None
    import torch

    predictor = SAM2ImagePredictor.from_pretrained(SAM2_MODEL, device="cuda" if torch.cuda.is_available() else "cpu")
    points = np.array([*clicks, *not_clicks], np.float32).reshape(-1, 2)
    with torch.inference_mode():
        predictor.set_image(image)
        masks, scores, _ = predictor.predict(
            point_coords=points if len(points) else None,
            point_labels=np.repeat([1, 0], [len(clicks), len(not_clicks)]) if len(points) else None,
            box=None if box is None else np.array([box[0], box[1], box[2] - 1, box[3] - 1], np.float32),
            multimask_output=box is None and len(points) == 1,
        )
    return np.asarray(masks[int(np.argmax(scores))]) > 0
