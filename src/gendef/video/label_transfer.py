"""Propagation of masks and label maps through a video by its deformation field (GenDeF, section 4.4).

Labels are defined on the canonical plane; a frame's labels are sampled at its sampling positions. Labels are never
interpolated: a pixel takes the majority of `SAMPLES` x `SAMPLES` samples spread over its area. Only pixels near a label
border need all samples; others use their centre.

A mask on a frame is first transferred to the canonical plane by exact inversion of that frame's field. The raster there
is fine enough to keep every pixel of the frame where the field compresses it, and covers everything that the frame
shows, including positions outside the canonical image. Positions that the frame does not show are background.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import identity_grid, invert_points, jacobian_determinant, resize_field, to_normalised, to_pixels
from gendef.geometry.sampling import bilinear_cell
from gendef.video.point_tracks import checked_frame

SAMPLES = 3
"""Samples per pixel along each axis; odd, so that two labels cannot tie along an edge."""
OVERSAMPLING = 1.45
"""Raster cells per frame pixel at the strongest compression; above sqrt(2), no pixel is missed at any rotation."""
RASTER_PIXELS = 2**24
"""Largest number of pixels of the raster of a frame's mask on the canonical plane."""
CHUNK_PIXELS = 2**20
"""Number of frame pixels that are labelled at a time."""
MOST_GREYS = 64
"""Largest number of grey levels of an 8-bit label map; a picture with more is thresholded."""
ASPECT_TOLERANCE = 0.02
"""Largest relative difference of the aspect ratios of a mask and its image."""


def segment(deformation: Tensor, mask: Any, canonical_size: Sequence[int], frame: int | None = None) -> Tensor:
    """Propagate a mask or a label map to all frames of a video of one canonical image.

    Args:
        deformation: (T, H, W, 2), the field.
        mask: (h, w), boolean or integer labels with 0 the background, of the canonical image's or the frame's size or
            of that shape at another resolution; see `to_labels`.
        canonical_size: height and width of the canonical image.
        frame: the frame on which the mask lies; None means the canonical image.

    Returns:
        (T, H, W), bool for a mask, otherwise labels in the given integer type. The frame `frame` keeps the given mask.
        A clip's `visibility` is not used: it is often False on moving objects, whose masks would be lost.

    Raises:
        InputError: the mask cannot be used, is of another shape, or there is no such frame.
    """
    count, height, width = deformation.shape[:3]
    if frame is None:
        labels = labels_for_size(mask, canonical_size, "the canonical image")
        plane = _Plane(labels)
    else:
        labels = labels_for_size(mask, (height, width), f"frame {checked_frame(frame, count)}")
        plane = _plane_of_frame(deformation[frame], labels)
    result = torch.empty(count, height, width, dtype=labels.dtype)
    step = max(CHUNK_PIXELS // (height * width), 1)
    for first in range(0, count, step):
        result[first : first + step] = _voted(plane, deformation[first : first + step])
    if frame is not None:
        result[frame] = resized_labels(labels, (height, width))
    return result


def canonical_labels(deformation: Tensor, mask: Any, canonical_size: Sequence[int], frame: int | None = None) -> Tensor:
    """Transfer a mask or label map (h, w) to the canonical image, (Hc, Wc); 0 where the frame does not show it.

    Args and raises: as `segment`.
    """
    tall, wide = canonical_size
    if frame is None:
        return resized_labels(labels_for_size(mask, canonical_size, "the canonical image"), (tall, wide))
    labels = labels_for_size(mask, deformation.shape[1:3], f"frame {checked_frame(frame, len(deformation))}")
    return _voted(_plane_of_frame(deformation[frame], labels), torch.zeros(1, tall, wide, 2))[0]


def to_labels(mask: Any) -> Tensor:
    """Convert a mask or label map to a tensor (H, W), bool or integer.

    Args:
        mask: boolean or integer array or tensor; floating with values 0 and 1 only, which makes a mask; or a PIL image,
            see `_from_picture`.

    Raises:
        InputError: the shape or type is another one, or a label is negative.
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

    1-bit pictures are masks; palette and 16-bit pictures are labels. 8-bit grey pictures are labels, unless only 0 and
    255 or more than `MOST_GREYS` levels occur (soft edges): those are masks, thresholded at 127. Pictures with
    transparency are masks of alpha above 127.

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
    """Convert unsigned integers of more than 8 bits to int64, because torch lacks operations on them."""
    return values.astype(np.int64) if values.dtype.kind == "u" and values.dtype.itemsize > 1 else values


def resized_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample labels (h, w) to another height and width by majority vote; unchanged at the same size."""
    if tuple(labels.shape) == tuple(size):
        return labels
    return _voted(_Plane(labels), torch.zeros(1, *size, 2))[0]


def labels_for_size(mask: Any, size: Sequence[int], place: str) -> Tensor:
    """Convert by `to_labels`, and check the aspect ratio against an image of `size` (height, width).

    Args:
        place: name of that image in errors.

    Raises:
        InputError: it is no mask or label map, or has another aspect ratio.
    """
    labels, (height, width) = to_labels(mask), size
    stretch = labels.shape[0] * width / (labels.shape[1] * height)
    # Reduced sizes are rounded by up to half a pixel.
    allowed = ASPECT_TOLERANCE + 0.5 / min(labels.shape)
    if not 1 - allowed <= stretch <= 1 + allowed:
        given = f"{labels.shape[1]}x{labels.shape[0]}"
        raise InputError(f"a mask of {given} pixels does not fit {place} of {width}x{height}")
    return labels


class _Plane:
    """A label raster (h, w) over a rectangle of the canonical plane.

    Args:
        span: lower and upper corner of the rectangle, normalised (2,) each; outside is background. None: the canonical
            image, whose border labels are repeated outside (border padding).
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
    """Transfer labels (h, w) of a frame with field (H, W, 2) to the part of the canonical plane that it shows."""
    size = height, width = field.shape[:2]
    positions = identity_grid(2 * height, 2 * width) + resize_field(field[None], (2 * height, 2 * width))[0]
    margin = 2 / torch.tensor([width, height])
    lowest, highest = positions.amin(dim=(0, 1)) - margin, positions.amax(dim=(0, 1)) + margin
    extent = (highest - lowest) / 2 * torch.tensor([width, height])  # in pixels of an undeformed frame
    density = min(OVERSAMPLING / _squeeze(field), float((RASTER_PIXELS / extent.prod()).sqrt()) / SAMPLES)
    wide, tall = (max(int(side), 1) for side in (extent * density).ceil())
    seen = _Plane(labels)

    def found(grid: Tensor) -> Tensor:
        """Labels at raster coordinates (N, 2) in [-1, 1]."""
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
    """Compression of the field: second percentile of the Jacobian's smaller singular value, clamped to [0.2, 1].

    Stronger compression shows almost nothing of the canonical image.
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
    """Labels (T, H, W) of frames with fields (T, H, W, 2), by majority vote."""
    size = field.shape[1:3]
    labels = plane.at(identity_grid(*size) + field)
    frame, row, column = _mixed(labels).nonzero(as_tuple=True)
    if len(row):
        parts = _parts(row, column)
        places = to_normalised(parts, size) + _offsets(field, frame, parts)
        labels[frame, row, column] = _majority(plane.at(places).flatten(1))
    return labels


def _mixed(labels: Tensor) -> Tensor:
    """Pixels of (T, H, W) with a different label among their eight neighbours."""
    mixed = torch.zeros_like(labels, dtype=torch.bool)
    beside = labels[:, :, 1:] != labels[:, :, :-1]
    mixed[:, :, 1:] |= beside
    mixed[:, :, :-1] |= beside
    in_row, below = mixed.clone(), labels[:, 1:] != labels[:, :-1]
    mixed[:, 1:] |= below | in_row[:, :-1]
    mixed[:, :-1] |= below | in_row[:, 1:]
    return mixed


def _parts(row: Tensor, column: Tensor) -> Tensor:
    """Sample positions in pixels (K,), at the centres of SAMPLES x SAMPLES parts: (K, S, S, 2)."""
    inner = (torch.arange(SAMPLES) - (SAMPLES - 1) / 2) / SAMPLES
    x = (column[:, None] + inner)[:, None, :].expand(-1, SAMPLES, -1)
    y = (row[:, None] + inner)[:, :, None].expand(-1, -1, SAMPLES)
    return torch.stack((x, y), dim=-1)


def _offsets(field: Tensor, frame: Tensor, positions: Tensor) -> Tensor:
    """Offsets of fields (T, H, W, 2) in frames (K,) at positions (K, S, S, 2) in pixels, bilinear: (K, S, S, 2)."""
    height, width = field.shape[1:3]
    (column, u), (row, v) = bilinear_cell(positions[..., :1], width), bilinear_cell(positions[..., 1:], height)
    index = (frame[:, None, None] * height + row[..., 0].long()) * width + column[..., 0].long()
    to_right, to_below = min(width - 1, 1), width if height > 1 else 0
    flat, rows = field.reshape(-1, 2), []
    for start in (index, index + to_below):
        left, right = flat[start], flat[start + to_right]
        rows.append(left + u * (right - left))
    return rows[0] + v * (rows[1] - rows[0])


def _majority(votes: Tensor) -> Tensor:
    """The most frequent label of each row of (K, n); the lowest one of equally frequent ones."""
    if votes.dtype == torch.bool:
        return votes.sum(dim=1, dtype=torch.uint8) > votes.shape[1] // 2
    ordered = votes.sort(dim=1).values
    counts = (ordered[:, :, None] == ordered[:, None]).sum(dim=2, dtype=torch.uint8)
    # argmax may return any of equal maxima; the offset selects the first.
    score = counts.int() * votes.shape[1] - torch.arange(votes.shape[1])
    return ordered.gather(1, score.argmax(dim=1, keepdim=True))[:, 0]
