"""A clip as one HTML page that plays, shows its field and can be painted on, without server or network."""

import base64
import html
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gendef.errors import InputError
from gendef.media.images import to_uint8
from gendef.runtime.atomic_file import replacing
from gendef.video.canonical_video import CanonicalVideo

CHOICES = ((16, 1 / 16), (8, 1 / 16), (4, 1 / 16), (2, 1 / 16), (1, 1 / 16), (1, 1 / 64))
"""Distances of the stored nodes in pixels of the frames, coarse first, each with the unit of the stored offsets in
pixels of the canonical image; the unit grows where offsets would not fit into 16 bits."""
GREY_TOLERANCE = 0.5
"""Mean difference to the rendered frames in grey levels that a spacing may cause."""
OFFSET_TOLERANCE = 0.25
"""Error in pixels of the canonical image that 99 of 100 offsets may have: an edit must move as it does in the video."""
LIGHT_STEP = 1 / 4096
"""Unit of the stored illumination, relative; it grows where values would not fit into 16 bits."""
LEAST_VIEW = 256
"""Pictures with a shorter side below this are drawn enlarged by a whole factor."""
CHUNK = 16
"""Frames whose fields are converted at a time."""
TRIAL_FRAMES = 6
"""Frames on which a spacing is tried."""
DEFAULT_LIMIT = 4_000_000
"""Bytes of a page unless more are allowed."""


@dataclass(frozen=True)
class PageReport:
    """What was written.

    Attributes:
        bytes: size of the page.
        spacing: distance of the stored nodes in pixels of the frames.
        grey_levels: mean difference to the rendered frames, measured on a few of them.
        offset_error: error in canonical pixels that 99 of 100 offsets do not exceed, on the same frames.
    """

    bytes: int
    spacing: int
    grey_levels: float
    offset_error: float


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
    """(pixels, nodes): how much each node counts at each pixel."""
    place = np.linspace(0, nodes - 1, pixels)[:, None]
    return np.maximum(1 - np.abs(place - np.arange(nodes)), 0)


def packed(nodes: np.ndarray) -> bytes:
    """Stored numbers as differences from frame to frame and from left to right, bytes in planes, deflated."""
    by_time = np.diff(nodes, axis=0, prepend=np.zeros_like(nodes[:1]))
    differences = np.diff(by_time, axis=3, prepend=np.zeros_like(nodes[..., :1]))
    planes = np.ascontiguousarray(differences.astype("<i2")).view(np.uint8).reshape(-1, 2).T
    return zlib.compress(np.ascontiguousarray(planes).data, 6)


@dataclass(frozen=True)
class EncodedField:
    """A field as it stands in a page.

    Attributes:
        codec: how.
        data: the packed numbers.
        spacing, grey_levels, offset_error: see `PageReport`.
    """

    codec: FieldCodec
    data: bytes
    spacing: int
    grey_levels: float
    offset_error: float


def encodings(
    video: CanonicalVideo, on_progress: Callable[[float], None] = lambda share: None
) -> Iterator[EncodedField]:
    """The field of a video, first as coarsely as leaves the frames within half a grey level of
    `CanonicalVideo.render()` on average (as finely as possible where that is never reached), then more coarsely still.

    Args:
        on_progress: called with the share of the present encoding that is done.
    """
    picture, largest = shown_canonical(video), _largest(video)
    codecs = [FieldCodec(video.size, spacing, _step(video, largest, unit)) for spacing, unit in CHOICES]
    trials = [_trial(video, picture, codec) for codec in codecs]
    good = [grey <= GREY_TOLERANCE and offset <= OFFSET_TOLERANCE for grey, offset in trials]
    finest = good.index(True) if any(good) else len(CHOICES) - 1
    for choice in range(finest, -1, -1):
        data = packed(_all_nodes(video, codecs[choice], on_progress))
        yield EncodedField(codecs[choice], data, CHOICES[choice][0], *trials[choice])


def write_html(
    path: str | Path,
    video: CanonicalVideo,
    *,
    title: str,
    limit: int = DEFAULT_LIMIT,
    on_progress: Callable[[float], None] = lambda share: None,
) -> PageReport:
    """Write the page.

    The field is stored as `encodings` says, more coarsely where the page would exceed `limit`. The canonical image is
    stored with 8 bits, at the resolution from which `render()` samples; an illumination with 16.

    Args:
        title: heading of the page.
        limit: bytes the page may have.
        on_progress: called with the share that is done.

    Raises:
        InputError: the page would be larger than `limit` however coarse its field.
    """
    smallest = 0
    for field in encodings(video, lambda share: on_progress(0.9 * share)):
        page = page_html(video, field, title).encode()
        smallest = len(page)
        if smallest <= limit:
            with replacing(Path(path)) as temporary:
                temporary.write_bytes(page)
            on_progress(1.0)
            return PageReport(len(page), field.spacing, field.grey_levels, field.offset_error)
    raise InputError(
        f"the page would have {smallest / 1e6:.1f} MB and may have {limit / 1e6:g}: allow more, or shorten the clip"
    )


def shown_canonical(video: CanonicalVideo) -> np.ndarray:
    """The canonical image, uint8, at the resolution from which `render()` samples."""
    return to_uint8(video.filtered_canonical(video.size))


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return file.getvalue()


def _largest(video: CanonicalVideo) -> list[float]:
    """Largest offset along x and along y, normalised."""
    return [max(float(frame[..., axis].abs().max()) for frame in video.deformation) for axis in (0, 1)]


def _step(video: CanonicalVideo, largest: list[float], unit: float) -> tuple[float, float]:
    """Unit of the stored offsets, for x and y, in normalised units."""
    tall, wide = video.canonical.shape[1:]
    # A spline may overshoot the values it is fitted to, hence the room.
    return max(2 * unit / wide, largest[0] / 2**14), max(2 * unit / tall, largest[1] / 2**14)


def _trial(video: CanonicalVideo, picture: np.ndarray, codec: FieldCodec) -> tuple[float, float]:
    """Mean difference in grey levels, and the error of the offsets in canonical pixels, on a few frames."""
    chosen = np.unique(np.linspace(0, video.num_frames - 1, TRIAL_FRAMES).round().astype(int)).tolist()
    field = video.deformation[chosen].numpy()
    kept = codec.field_of(codec.nodes_of(field))
    tall, wide = video.canonical.shape[1:]
    offset = np.linalg.norm((kept - field) * np.array([wide / 2, tall / 2]), axis=-1)
    light = None if video.illumination is None else video.illumination[chosen]
    shown = to_uint8(CanonicalVideo(picture, kept, illumination=light).render()).astype(float)
    grey = np.abs(shown - to_uint8(video.render(frames=chosen))).mean()
    return float(grey), float(np.percentile(offset, 99))


def _all_nodes(video: CanonicalVideo, codec: FieldCodec, on_progress: Callable[[float], None]) -> np.ndarray:
    parts = []
    for start in range(0, video.num_frames, CHUNK):
        parts.append(codec.nodes_of(video.deformation[start : start + CHUNK].numpy()))
        on_progress(min(start + CHUNK, video.num_frames) / video.num_frames)
    return np.concatenate(parts)


def page_html(video: CanonicalVideo, field: EncodedField, title: str, *, embedded: bool = False) -> str:
    """The page as text.

    Args:
        field: of the video, or of one that shares its field.
        embedded: without heading, for a frame of another page, which is told about strokes (`embedded.js`).
    """
    codec, picture = field.codec, shown_canonical(video)
    root = resources.files("gendef.visualization") / "player"
    (height, width), (tall, wide) = video.size, picture.shape[:2]
    half = torch.tensor([width / 2, height / 2])
    few = video.deformation[:: max(video.num_frames // 16, 1)] * half
    meta = {
        "frames": video.num_frames,
        "fps": video.fps,
        "size": [height, width],
        "view": _enlarged(height, width),
        "paint": _enlarged(tall, wide),
        "nodes": list(codec.nodes),
        "step": codec.step.ravel().tolist(),
        "largest": max(float(np.percentile(few.norm(dim=-1).numpy(), 99)), 1e-6),
        "embedded": embedded,
        "light": None,
    }
    light = b""
    if video.illumination is not None:
        step = max(LIGHT_STEP, float(video.illumination.abs().max()) / 32767)
        light = packed(np.round(video.illumination.movedim(-1, 1).numpy() / step).astype(np.int16))
        meta["light"] = {"size": list(video.illumination.shape[1:3]), "step": step}
    parts = ("field.js", "renderer.js", "painter.js", "layers.js", "brush.js", "embedded.js", "player.js")
    values = {
        "title": html.escape(title),
        "body": "embedded" if embedded else "alone",
        "style": (root / "player.css").read_text(encoding="utf-8"),
        "script": "\n".join((root / part).read_text(encoding="utf-8") for part in parts),
        "video_ratio": f"{width / height:.5f}",
        "canonical_ratio": f"{wide / tall:.5f}",
        "about": html.escape(_about(video)),
        "canonical": base64.b64encode(_png(picture)).decode(),
        # "<" would end the script element.
        "meta": json.dumps(meta).replace("<", "\\u003c"),
        "field": base64.b64encode(field.data).decode(),
        "light": base64.b64encode(light).decode(),
    }
    template = (root / "player.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _enlarged(height: int, width: int) -> list[int]:
    factor = math.ceil(LEAST_VIEW / min(height, width))
    return [height * factor, width * factor]


def _about(video: CanonicalVideo) -> str:
    (height, width), made = video.size, video.info
    facts: list[Any] = [f"{video.num_frames} frames of {width}x{height}, {video.fps:g} frames a second"]
    if "model" in made and "content_seed" in made:
        facts.append(f"model {made['model']}, content {made['content_seed']}, motion {made.get('motion_seed')}")
    return f"{'; '.join(facts)}. Made with gendef; this page works without a network."
