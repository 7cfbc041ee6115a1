"""Compression of a clip's layers for the exported page: fields on coarse grids, illumination, alpha."""

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from gendef.media.images import to_uint8
from gendef.video.base import Video
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layer import Layer

CHOICES = ((16, 1 / 16), (8, 1 / 16), (4, 1 / 16), (2, 1 / 16), (1, 1 / 16), (1, 1 / 64))
"""Distances of the stored nodes in pixels of the frames, coarse first, each with the unit of the stored offsets in
pixels of the canonical image; the unit grows where offsets would not fit into 16 bits."""
GREY_TOLERANCE = 0.5
"""Mean difference to the rendered frames in grey levels that a spacing may cause."""
OFFSET_TOLERANCE = 0.25
"""Error in pixels of the canonical image that 99 of 100 offsets may have: so that edits move as in the video."""
LIGHT_STEP = 1 / 4096
"""Unit of the stored illumination, relative; it grows where values would not fit into 16 bits."""
CHUNK = 16
"""Frames whose fields are converted at a time."""
TRIAL_FRAMES = 6
"""Frames on which a spacing is tried."""


class FieldCodec:
    """Offsets as 16-bit numbers at the nodes of a coarse grid, of which the first and last lie on border pixels.

    The nodes are the least-squares fit of a bilinear spline, so that linear fields are kept exactly; with a spacing of
    1 they are the pixels themselves.

    Args:
        size: height and width of the field.
        spacing: distance of the nodes in pixels, at most.
        step: unit of the stored numbers, normalised, for x and y.
    """

    def __init__(self, size: tuple[int, int], spacing: int, step: tuple[float, float]) -> None:
        self.size = size
        self.nodes = (_node_count(size[0], spacing), _node_count(size[1], spacing))
        self.step = np.array(step, np.float64).reshape(2, 1, 1)
        self._splines = tuple(map(_hat_functions, size, self.nodes))
        self._fits = tuple(map(np.linalg.pinv, self._splines))

    def nodes_of(self, field: np.ndarray) -> np.ndarray:
        """Field (T, H, W, 2) -> stored numbers, int16 (T, 2, nodes high, nodes wide)."""
        planes = np.moveaxis(field, -1, 1).astype(np.float64)
        if self.nodes != self.size:
            planes = self._fits[0] @ planes @ self._fits[1].T
        return np.clip(np.round(planes / self.step), -32768, 32767).astype(np.int16)

    def field_of(self, nodes: np.ndarray) -> np.ndarray:
        """The field (T, H, W, 2) that the page makes of stored numbers."""
        planes = nodes * self.step
        if self.nodes != self.size:
            planes = self._splines[0] @ planes @ self._splines[1].T
        return np.moveaxis(planes, 1, -1).astype(np.float32)


def _node_count(pixels: int, spacing: int) -> int:
    return math.ceil((pixels - 1) / spacing) + 1


def _hat_functions(pixels: int, nodes: int) -> np.ndarray:
    """Linear spline weights of the nodes at the pixels, (pixels, nodes)."""
    place = np.linspace(0, nodes - 1, pixels)[:, None]
    return np.maximum(1 - np.abs(place - np.arange(nodes)), 0)


def packed(nodes: np.ndarray) -> bytes:
    """Stored numbers as differences from frame to frame and from left to right, bytes in planes, deflated."""
    by_time = np.diff(nodes, axis=0, prepend=np.zeros_like(nodes[:1]))
    differences = np.diff(by_time, axis=3, prepend=np.zeros_like(nodes[..., :1]))
    planes = np.ascontiguousarray(differences.astype("<i2")).view(np.uint8).reshape(-1, 2).T
    return zlib.compress(np.ascontiguousarray(planes).data, 6)


def packed_bytes(planes: np.ndarray) -> bytes:
    """Bytes (T, H, W) as differences from frame to frame, deflated."""
    return zlib.compress(np.diff(planes, axis=0, prepend=np.zeros_like(planes[:1])).tobytes(), 6)


@dataclass(frozen=True)
class EncodedLayer:
    """The compressed data of a layer.

    Attributes:
        codec: of the field.
        data: the packed field.
        spacing: distance of the stored nodes in pixels of the frames.
        grey_levels: mean difference to the layer's rendered frames, measured on a few of them.
        offset_error: error in canonical pixels that 99 of 100 offsets do not exceed, on the same frames.
        light: illumination, packed; empty if the layer has none.
        light_step: its unit.
        alpha: packed; empty if the layer covers everything.
    """

    codec: FieldCodec
    data: bytes
    spacing: int
    grey_levels: float
    offset_error: float
    light: bytes
    light_step: float
    alpha: bytes


def encodings(video: Video, on_progress: Callable[[float], None] = lambda share: None) -> Iterator[list[EncodedLayer]]:
    """Encode the layers of a clip with successively coarser fields.

    The first encoding uses the coarsest field of each layer that meets `GREY_TOLERANCE` and `OFFSET_TOLERANCE`, or the
    finest one if none does.

    Args:
        on_progress: called with the share of the present encoding that is done.
    """
    trials = [_trials(layer.video) for layer in video.layers]
    finest = [_finest(tried) for tried in trials]
    for coarser in range(max(finest) + 1):
        encoded = []
        for number, layer in enumerate(video.layers):
            choice = max(finest[number] - coarser, 0)

            def part(share: float, number: int = number) -> None:
                on_progress((number + share) / len(trials))

            encoded.append(_encoded(layer, choice, trials[number][choice], part))
        yield encoded


def _finest(trials: list[tuple[float, float]]) -> int:
    """The coarsest choice within the tolerances, or else the finest."""
    good = [grey <= GREY_TOLERANCE and offset <= OFFSET_TOLERANCE for grey, offset in trials]
    return good.index(True) if any(good) else len(CHOICES) - 1


def _encoded(
    layer: Layer[CanonicalVideo], choice: int, trial: tuple[float, float], on_progress: Callable[[float], None]
) -> EncodedLayer:
    video, codec = layer.video, _codec(layer.video, choice)
    data = packed(_all_nodes(video, codec, on_progress))
    light, step = b"", LIGHT_STEP
    if video.illumination is not None:
        step = max(LIGHT_STEP, float(video.illumination.abs().max()) / 32767)
        light = packed(np.round(video.illumination.movedim(-1, 1).numpy() / step).astype(np.int16))
    alpha = b"" if layer.alpha is None else packed_bytes(layer.alpha.numpy())
    return EncodedLayer(codec, data, CHOICES[choice][0], *trial, light, step, alpha)


def shown_canonical(video: CanonicalVideo) -> np.ndarray:
    """The canonical image, uint8, at the resolution from which `render()` samples."""
    return to_uint8(video.filtered_canonical(video.size))


def _codec(video: CanonicalVideo, choice: int) -> FieldCodec:
    spacing, unit = CHOICES[choice]
    largest = [max(float(frame[..., axis].abs().max()) for frame in video.deformation) for axis in (0, 1)]
    tall, wide = video.canonical_size
    # The range has a margin, because a fitted spline may overshoot.
    step = max(2 * unit / wide, largest[0] / 2**14), max(2 * unit / tall, largest[1] / 2**14)
    return FieldCodec(video.size, spacing, step)


def _trials(video: CanonicalVideo) -> list[tuple[float, float]]:
    """For each choice, on a few frames: mean difference in grey levels, error of the offsets in canonical pixels."""
    picture, (tall, wide) = shown_canonical(video), video.canonical_size
    chosen = np.unique(np.linspace(0, video.num_frames - 1, TRIAL_FRAMES).round().astype(int)).tolist()
    field = video.deformation[chosen].numpy()
    light = None if video.illumination is None else video.illumination[chosen]
    truth = to_uint8(video.render(frames=chosen))
    results = []
    for choice in range(len(CHOICES)):
        codec = _codec(video, choice)
        kept = codec.field_of(codec.nodes_of(field))
        offset = np.linalg.norm((kept - field) * np.array([wide / 2, tall / 2]), axis=-1)
        shown = to_uint8(CanonicalVideo(picture, kept, illumination=light).render()).astype(float)
        results.append((float(np.abs(shown - truth).mean()), float(np.percentile(offset, 99))))
    return results


def _all_nodes(video: CanonicalVideo, codec: FieldCodec, on_progress: Callable[[float], None]) -> np.ndarray:
    parts = []
    for start in range(0, video.num_frames, CHUNK):
        parts.append(codec.nodes_of(video.deformation[start : start + CHUNK].numpy()))
        on_progress(min(start + CHUNK, video.num_frames) / video.num_frames)
    return np.concatenate(parts)
