"""Masks from clicks and boxes on one image: by random walks, refined by GrabCut, or by SAM 2 where it is installed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion, binary_fill_holes, gaussian_filter, label

from gendef.errors import InputError
from gendef.runtime.optional_imports import import_cv2

Method = Literal["grabcut", "walk", "sam2"]
Point = Sequence[float]
Box = Sequence[float]
WholeBox = tuple[int, int, int, int]
WALK_SIDE = 160
"""Shorter side of the picture on which walks are computed, at most."""
SEED_SHARE = 0.012
"""Radius of a click, as a share of the shorter side."""
SHARPNESS = 4.0
"""How much a difference in colour, in units of the usual one between neighbours, hinders the walk."""
EASIEST, HARDEST = 1.0, 1e-4
"""Ease of a step between pixels of the same colour, and at least."""
LEVELS = np.geomspace(0.01, 0.6, 40)
"""Chances of reaching the object first, among which the outline is chosen."""
CUT_SIDE = 256
"""Shorter side of the picture that GrabCut works on, at most."""
CUT_ROUNDS = 5
LEFT_SHARE = 0.25
"""Share of the walk's area that GrabCut must leave to be believed."""
SAM2_MODEL = "facebook/sam2.1-hiera-small"


def mask_from_prompts(
    image: np.ndarray,
    clicks: Sequence[Point] = (),
    box: Box | None = None,
    not_clicks: Sequence[Point] = (),
    method: Method = "grabcut",
) -> np.ndarray:
    """Mask of the object that is meant, bool (H, W).

    Args:
        image: uint8 (H, W, 3).
        clicks: points (x, y) in pixels on the object.
        box: x0, y0, x1, y1 in pixels, around the object.
        not_clicks: points on what does not belong to it.
        method: "walk": where a random walk that avoids edges reaches a click sooner than the background (Grady 2006);
            "grabcut": its result, or the box, refined by colour models (Rother et al. 2004); "sam2": the network of
            that name, by its own package.

    Raises:
        InputError: nothing is marked, a point lies outside the picture, the box is empty, nothing is found, or the
            package sam2 is not installed.
        MissingDependencyError: OpenCV, which GrabCut needs, is not installed.
    """
    if not clicks and box is None:
        raise InputError("no object is marked: give a click on it or a box around it")
    size = image.shape[:2]
    for point in [*clicks, *not_clicks]:
        _checked_point(point, size)
    whole_box = None if box is None else _checked_box(box, size)
    if method == "sam2":
        mask = _sam2(image, clicks, whole_box, not_clicks)
    else:
        mask = _walked(image, clicks, whole_box, not_clicks)
        if method == "grabcut":
            cut = _cut(image, mask, clicks, whole_box, not_clicks)
            # Where object and background have the same colours, their models leave next to nothing.
            mask = cut if cut.sum() > LEFT_SHARE * mask.sum() else mask
        mask = _tidied(mask, clicks)
    if not mask.any():
        raise InputError("no object was found there: click into its middle, or draw the box more closely")
    return mask


def _checked_point(point: Point, size: tuple[int, int]) -> None:
    x, y = point
    if not (-0.5 <= x <= size[1] - 0.5 and -0.5 <= y <= size[0] - 0.5):
        raise InputError(f"the click {x:g},{y:g} is outside the picture of {size[1]}x{size[0]} pixels")


def _checked_box(box: Box, size: tuple[int, int]) -> WholeBox:
    """The box as whole pixels: first column and row, and those after the last."""
    x0, y0, x1, y1 = box
    left, top = max(round(x0), 0), max(round(y0), 0)
    right, bottom = min(round(x1) + 1, size[1]), min(round(y1) + 1, size[0])
    if right - left < 2 or bottom - top < 2:
        shown = ",".join(f"{value:g}" for value in box)
        raise InputError(
            f"the box {shown} holds nothing of the picture of {size[1]}x{size[0]} pixels: give x0,y0,x1,y1"
        )
    return left, top, right, bottom


def _discs(points: Sequence[Point], size: tuple[int, int]) -> np.ndarray:
    """Pixels near points, bool (H, W); at least the one under each."""
    y, x = np.mgrid[: size[0], : size[1]]
    radius = max(SEED_SHARE * min(size), 0.75)
    near = np.zeros(size, bool)
    for column, row in points:
        near |= np.hypot(x - round(column), y - round(row)) <= radius
    return near


def _seeds(
    clicks: Sequence[Point], box: WholeBox | None, not_clicks: Sequence[Point], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What surely is the object and what surely is not, bool (H, W) each."""
    inside, outside = _discs(clicks, size), np.zeros(size, bool)
    if box is not None:
        left, top, right, bottom = box
        outside[:] = True
        outside[top:bottom, left:right] = False
    if box is None or not outside.any():
        # Without other knowledge the rim of the picture is background.
        outside[[0, -1]] = outside[:, [0, -1]] = True
    if not clicks and box is not None:
        left, top, right, bottom = box
        inside |= _discs([((left + right - 1) / 2, (top + bottom - 1) / 2)], size)
    outside |= _discs(not_clicks, size)
    outside &= ~_discs(clicks, size)
    return inside & ~outside, outside


def _walked(
    image: np.ndarray, clicks: Sequence[Point], box: WholeBox | None, not_clicks: Sequence[Point]
) -> np.ndarray:
    """Pixels from which a random walk comes to the object sooner than to the background."""
    full = image.shape[:2]
    seeds = _seeds(clicks, box, not_clicks, full)
    size = _reduced_size(full, WALK_SIDE)
    small = gaussian_filter(_reduced_image(image, size).astype(float) / 255, (0.7, 0.7, 0))
    inside, outside = (_reduced_mask(mask, size) for mask in seeds)
    outside &= ~inside
    chance = _chances(small, inside, outside)
    return _enlarged(chance, full) > _level(small, chance, inside)


def _chances(image: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The chance of each pixel of (H, W, 3) that a random walk from it meets `inside` before `outside`, (H, W).

    It is harmonic on the graph of neighbouring pixels (Grady 2006, equation 10).
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    number = np.arange(inside.size).reshape(inside.shape)
    pairs = ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:]))
    start, end = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in range(2))
    colours = image.reshape(-1, 3)
    difference = ((colours[start] - colours[end]) ** 2).sum(axis=1)
    usual = max(float(difference.mean()), 1e-8)
    ease = np.maximum(EASIEST * np.exp(-SHARPNESS * difference / usual), HARDEST)
    links = coo_matrix((ease, (start, end)), shape=(number.size,) * 2).tocsr()
    links = links + links.T
    laplacian = (diags(np.asarray(links.sum(axis=1)).ravel()) - links).tocsr()
    known = (inside | outside).ravel()
    chance = inside.ravel().astype(float)
    if not known.all():
        chance[~known] = spsolve(laplacian[~known][:, ~known].tocsc(), -laplacian[~known][:, known] @ chance[known])
    return chance.reshape(inside.shape)


def _level(image: np.ndarray, chance: np.ndarray, inside: np.ndarray) -> float:
    """The level of `chance` whose outline runs along the strongest edges of the picture.

    A click is small and the background around is large, so that even odds lie too near the click.
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
    """A mask at a smaller size, True where any of its pixels is."""
    rows, columns = np.nonzero(mask)
    small = np.zeros(size, bool)
    small[rows * size[0] // mask.shape[0], columns * size[1] // mask.shape[1]] = True
    return small


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC))


def _cut(
    image: np.ndarray, guess: np.ndarray, clicks: Sequence[Point], box: WholeBox | None, not_clicks: Sequence[Point]
) -> np.ndarray:
    """GrabCut from a first guess, or from the box where there is one."""
    cv2 = import_cv2("fit", "for GrabCut (method walk does without)")
    full = image.shape[:2]
    size = _reduced_size(full, CUT_SIDE)
    inside, outside = _seeds(clicks, box, not_clicks, full)
    probable = _reduced_mask(guess if box is None else ~outside, size)
    trimap = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    # The rim of the picture is a guess of `_seeds`, while box and clicks are the user's word.
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
    """The pieces that were clicked on, or the largest one, without holes."""
    pieces, count = label(mask)
    if count == 0:
        return mask
    height, width = mask.shape
    wanted = {int(pieces[min(max(round(y), 0), height - 1), min(max(round(x), 0), width - 1)]) for x, y in clicks} - {0}
    if not wanted:
        wanted = {int(np.bincount(pieces.ravel())[1:].argmax()) + 1}
    return binary_fill_holes(np.isin(pieces, list(wanted)))


def _sam2(image: np.ndarray, clicks: Sequence[Point], box: WholeBox | None, not_clicks: Sequence[Point]) -> np.ndarray:
    """The mask that SAM 2 is surest of."""
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
