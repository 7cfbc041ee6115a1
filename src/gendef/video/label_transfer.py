"""Carrying masks and label maps through a video (GenDeF, section 4.4).

A label belongs to a place of the canonical image, and every frame shows it where it shows that place. Labels are never
mixed: a pixel of a frame looks up `SAMPLES` x `SAMPLES` places spread over its area and takes the label found most
often. Only pixels at the border of a label need that; for the others their centre is enough.

A mask on a frame is first brought to the canonical plane by exact inversion of that frame's field, on a raster so fine
that no pixel of the frame is lost where the field squeezes it, and so wide that it holds all that the frame shows, what
lies beyond the canonical image included. So it has no holes, and what the frame does not show stays background.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import identity_grid, invert_points, jacobian_determinant, resize_field, to_normalised, to_pixels
from gendef.video.point_tracks import checked_frame

SAMPLES = 3
"""Places along each side of a pixel that vote on its label; odd, so that two labels never tie along an edge."""
FINENESS = 1.45
"""Places of a raster along a frame's pixel where it is squeezed most; from the root of 2 on no pixel, however it is
turned, falls between them."""
RASTER_PIXELS = 2**24
"""Pixels of the raster of a frame's mask on the canonical plane, at most."""
CHUNK_PIXELS = 2**20
"""Pixels of frames that are labelled at a time."""
MOST_GREYS = 64
"""Grey levels up to which a picture is taken for a label map."""
ASPECT_TOLERANCE = 0.02
"""Relative difference of the shapes of a mask and its picture up to which it is stretched."""


def segment(deformation: Tensor, mask: Any, canonical_size: Sequence[int], frame: int | None = None) -> Tensor:
    """Carry a mask or a label map to all frames of a video of one canonical image.

    Args:
        deformation: (T, H, W, 2), the field.
        mask: (h, w), boolean or integer labels with 0 the background, of the canonical image's or the frame's size or
            of that shape at another resolution; see `to_labels`.
        canonical_size: height and width of the canonical image.
        frame: the frame on which the mask lies; None means the canonical image.

    Returns:
        (T, H, W), bool for a mask, otherwise labels in the integer type that was given. The frame `frame` itself keeps
        the mask as given. A clip's `visibility` is not looked at: it says where colours are explained, which is missing
        most where objects move, and their masks with it.

    Raises:
        InputError: the mask cannot be used, is of another shape, or there is no such frame.
    """
    count, height, width = deformation.shape[:3]
    if frame is None:
        labels = fitting_labels(mask, canonical_size, "the canonical image")
        plane = _Plane(labels)
    else:
        labels = fitting_labels(mask, (height, width), f"frame {checked_frame(frame, count)}")
        plane = _plane_of_frame(deformation[frame], labels)
    result = torch.empty(count, height, width, dtype=labels.dtype)
    step = max(CHUNK_PIXELS // (height * width), 1)
    for first in range(0, count, step):
        result[first : first + step] = _voted(plane, deformation[first : first + step])
    if frame is not None:
        result[frame] = resized_labels(labels, (height, width))
    return result


def canonical_labels(deformation: Tensor, mask: Any, canonical_size: Sequence[int], frame: int | None = None) -> Tensor:
    """A mask or label map (h, w) on the canonical image, (Hc, Wc); background where the frame does not show the image.

    Args and raises: as `segment`.
    """
    tall, wide = canonical_size
    if frame is None:
        return resized_labels(fitting_labels(mask, canonical_size, "the canonical image"), (tall, wide))
    labels = fitting_labels(mask, deformation.shape[1:3], f"frame {checked_frame(frame, len(deformation))}")
    return _voted(_plane_of_frame(deformation[frame], labels), torch.zeros(1, tall, wide, 2))[0]


def to_labels(mask: Any) -> Tensor:
    """A mask or label map as a tensor (H, W), bool or integer.

    Args:
        mask: boolean or integer array or tensor; floating with values 0 and 1 only, which makes a mask; or a PIL image,
            see `_from_picture`.

    Raises:
        InputError: of another shape or type, or negative.
    """
    if isinstance(mask, Image.Image):
        mask = _from_picture(mask)
    try:
        labels = mask.detach().cpu() if isinstance(mask, Tensor) else torch.from_numpy(_signed(np.array(mask)))
    except TypeError:
        raise InputError(f"a mask must be boolean or of integer labels, got {type(mask).__name__}") from None
    if labels.ndim != 2 or labels.numel() == 0:
        raise InputError(f"a mask must be (H, W), got shape {tuple(labels.shape)}")
    if labels.is_floating_point():
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise InputError(
                "a floating mask must hold 0 and 1 only: compare it with a threshold, or give integer labels"
            )
        return labels > 0.5
    if labels.is_complex():
        raise InputError(f"a mask must be boolean or of integer labels, got {labels.dtype}")
    if labels.dtype != torch.bool and int(labels.min()) < 0:
        raise InputError(f"labels start at 0, the background, got {int(labels.min())}")
    return labels


def _from_picture(picture: Image.Image) -> np.ndarray:
    """Bool or integers (H, W) from a picture.

    One bit makes a mask, a palette or 16 bits make labels. Eight bits of grey make labels too, unless only 0 and 255
    occur or more than `MOST_GREYS` levels, as where edges are soft: then what is brighter than half is a mask. With
    transparency what is not transparent is a mask.

    Raises:
        InputError: the picture is coloured.
    """
    if picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            return alpha > 127
    if picture.mode in ("LA", "RGB", "RGBA"):
        colours = np.asarray(picture.convert("RGB"))
        if (colours != colours[..., :1]).any():
            raise InputError(
                "a mask must be in grey levels, with a palette, or partly transparent; this one is coloured"
            )
        picture = picture.convert("L")
    if picture.mode not in ("1", "L", "P") and not picture.mode.startswith("I"):
        raise InputError(f"a mask must be in grey levels, with a palette, or partly transparent, got {picture.mode}")
    values = np.asarray(picture)
    if picture.mode == "L":
        levels = np.unique(values)
        if len(levels) > MOST_GREYS or set(levels.tolist()) <= {0, 255}:
            return values > 127
    return values


def _signed(values: np.ndarray) -> np.ndarray:
    """Unsigned integers of more than eight bits as signed ones, which torch can handle."""
    return values.astype(np.int64) if values.dtype.kind == "u" and values.dtype.itemsize > 1 else values


def resized_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (h, w) at another height and width, by the same vote; equal at the same size."""
    if tuple(labels.shape) == tuple(size):
        return labels
    return _voted(_Plane(labels), torch.zeros(1, *size, 2))[0]


def fitting_labels(mask: Any, size: Sequence[int], place: str) -> Tensor:
    """A mask or label map (h, w) as by `to_labels`, of the shape of a picture of `size` (height, width).

    Raises:
        InputError: it cannot be used, or is of another shape than the picture, which the error calls `place`.
    """
    labels, (height, width) = to_labels(mask), size
    stretch = labels.shape[0] * width / (labels.shape[1] * height)
    # Half a pixel is lost to rounding when a picture is scaled down.
    allowed = ASPECT_TOLERANCE + 0.5 / min(labels.shape)
    if not 1 - allowed <= stretch <= 1 + allowed:
        given = f"{labels.shape[1]}x{labels.shape[0]}"
        raise InputError(f"a mask of {given} pixels does not fit {place} of {width}x{height}")
    return labels


class _Plane:
    """Labels (h, w) over a part of the canonical plane.

    Args:
        span: its lower and upper corner, normalised (2,) each, beyond which there is background; None for the canonical
            image, beyond which the labels of its border go on as its colours do.
    """

    def __init__(self, labels: Tensor, span: tuple[Tensor, Tensor] | None = None) -> None:
        self.labels, self._bounded = labels, span is not None
        self._lowest, highest = span or (torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0]))
        self._size = torch.tensor([labels.shape[1], labels.shape[0]])
        self._scale = self._size / (highest - self._lowest)

    def at(self, coords: Tensor) -> Tensor:
        """Labels at normalised coords (..., 2)."""
        index = ((coords - self._lowest) * self._scale).floor().long()
        inner = torch.minimum(index.clamp(min=0), self._size - 1)
        found = self.labels.reshape(-1)[inner[..., 1] * self.labels.shape[1] + inner[..., 0]]
        if self._bounded:
            found[(index != inner).any(dim=-1)] = 0
        return found


def _plane_of_frame(field: Tensor, labels: Tensor) -> _Plane:
    """Labels (h, w) of a frame with a field (H, W, 2), on the part of the canonical plane that it shows."""
    size = height, width = field.shape[:2]
    positions = identity_grid(2 * height, 2 * width) + resize_field(field[None], (2 * height, 2 * width))[0]
    margin = 2 / torch.tensor([width, height])
    lowest, highest = positions.amin(dim=(0, 1)) - margin, positions.amax(dim=(0, 1)) + margin
    extent = (highest - lowest) / 2 * torch.tensor([width, height])  # in pixels of a frame that is not bent
    fineness = min(FINENESS / _squeeze(field), float((RASTER_PIXELS / extent.prod()).sqrt()) / SAMPLES)
    wide, tall = (max(int(side), 1) for side in (extent * fineness).ceil())
    seen = _Plane(labels)

    def found(grid: Tensor) -> Tensor:
        """Labels at places (N, 2) of the raster, which spans -1 to 1."""
        places = to_pixels((grid + 1) / 2 * (highest - lowest) + lowest, size)
        inverse = invert_points(field[None], places, size)
        where = to_normalised(inverse.positions[:, 0], size)
        values = seen.at(where)
        values[~inverse.valid[:, 0]] = 0
        return values

    coarse = found(identity_grid(tall, wide).reshape(-1, 2)).reshape(1, tall, wide)
    raster = coarse.repeat_interleave(SAMPLES, dim=1).repeat_interleave(SAMPLES, dim=2)
    _, row, column = _mixed(coarse).nonzero(as_tuple=True)
    if len(row):
        parts = found(to_normalised(_parts(row, column), (tall, wide)).reshape(-1, 2)).reshape(-1, SAMPLES, SAMPLES)
        raster.reshape(tall, SAMPLES, wide, SAMPLES).transpose(1, 2)[row, column] = parts
    return _Plane(raster[0], (lowest, highest))


def _squeeze(field: Tensor) -> float:
    """Length in the canonical plane of a frame pixel's shorter side, in pixels of the frame, where it is short.

    One pixel in fifty may be shorter; between 0.2 and 1, as thinner ones show next to nothing.
    """
    if min(field.shape[:2]) < 2:
        return 1.0
    half = torch.tensor([field.shape[1] / 2, field.shape[0] / 2])
    position = (identity_grid(*field.shape[:2]) + field) * half
    along_x, along_y = position[:-1, 1:] - position[:-1, :-1], position[1:, :-1] - position[:-1, :-1]
    # The smaller singular value of a 2x2 matrix from its norm and its determinant.
    norm = (along_x.square() + along_y.square()).sum(dim=-1)
    area = jacobian_determinant(field).abs()
    smaller = ((norm - (norm.square() - 4 * area.square()).clamp(min=0).sqrt()) / 2).clamp(min=0).sqrt()
    return float(np.clip(np.quantile(smaller.numpy(), 0.02), 0.2, 1.0))


def _voted(plane: _Plane, field: Tensor) -> Tensor:
    """Labels that frames of fields (T, H, W, 2) show, (T, H, W)."""
    size = field.shape[1:3]
    labels = plane.at(identity_grid(*size) + field)
    frame, row, column = _mixed(labels).nonzero(as_tuple=True)
    if len(row):
        parts = _parts(row, column)
        places = to_normalised(parts, size) + _offsets(field, frame, parts)
        labels[frame, row, column] = _majority(plane.at(places).flatten(1))
    return labels


def _mixed(labels: Tensor) -> Tensor:
    """Pixels of (T, H, W) among whose eight neighbours there is another label."""
    mixed = torch.zeros_like(labels, dtype=torch.bool)
    beside = labels[:, :, 1:] != labels[:, :, :-1]
    mixed[:, :, 1:] |= beside
    mixed[:, :, :-1] |= beside
    in_row, below = mixed.clone(), labels[:, 1:] != labels[:, :-1]
    mixed[:, 1:] |= below | in_row[:, :-1]
    mixed[:, :-1] |= below | in_row[:, 1:]
    return mixed


def _parts(row: Tensor, column: Tensor) -> Tensor:
    """Centres of the SAMPLES x SAMPLES parts of pixels (K,), in pixels: (K, S, S, 2)."""
    inner = (torch.arange(SAMPLES) - (SAMPLES - 1) / 2) / SAMPLES
    x = (column[:, None] + inner)[:, None, :].expand(-1, SAMPLES, -1)
    y = (row[:, None] + inner)[:, :, None].expand(-1, -1, SAMPLES)
    return torch.stack((x, y), dim=-1)


def _offsets(field: Tensor, frame: Tensor, positions: Tensor) -> Tensor:
    """Offsets of fields (T, H, W, 2) in frames (K,) at positions (K, S, S, 2) in pixels, bilinear: (K, S, S, 2)."""
    height, width = field.shape[1:3]
    far = torch.tensor([width - 1, height - 1])
    inner = torch.minimum(positions.clamp(min=0), far)
    low = inner.floor().long()
    high = torch.minimum(low + 1, far)
    share = inner - low
    flat, start = field.reshape(-1, 2), (frame * height * width)[:, None, None]
    rows = []
    for y in (low[..., 1], high[..., 1]):
        left, right = (flat[start + y * width + x] for x in (low[..., 0], high[..., 0]))
        rows.append(left + share[..., :1] * (right - left))
    return rows[0] + share[..., 1:] * (rows[1] - rows[0])


def _majority(votes: Tensor) -> Tensor:
    """The most frequent label of each row of (K, n); of equally frequent ones the lowest."""
    if votes.dtype == torch.bool:
        return votes.sum(dim=1, dtype=torch.uint8) > votes.shape[1] // 2
    ordered = votes.sort(dim=1).values
    counts = (ordered[:, :, None] == ordered[:, None]).sum(dim=2, dtype=torch.uint8)
    # argmax may give any of equal maxima: prefer early ones.
    score = counts.int() * votes.shape[1] - torch.arange(votes.shape[1])
    return ordered.gather(1, score.argmax(dim=1, keepdim=True))[:, 0]
