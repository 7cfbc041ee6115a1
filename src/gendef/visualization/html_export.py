"""Export of a clip as one self-contained HTML page with a player, the field and painting."""

import base64
import html
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gendef.errors import InputError
from gendef.runtime.atomic_file import replacing
from gendef.video.base import Video
from gendef.video.flow import layers_scale
from gendef.visualization.field_codec import EncodedLayer, encodings, shown_canonical

LEAST_VIEW = 256
"""Pictures with a smaller shorter side are enlarged by an integer factor."""
DEFAULT_LIMIT = 4_000_000
"""Default limit on the size of a page, in bytes."""
SCRIPTS = ("field.js", "renderer.js", "painter.js", "layers.js", "brush.js", "embedded.js", "player.js")
"""Script files of the page, in order."""


@dataclass(frozen=True)
class PageReport:
    """Facts about a written page.

    Attributes:
        bytes: size of the page.
        spacing: distance of the stored nodes in pixels of the frames; of several layers the smallest.
        grey_levels: mean difference to the rendered frames, measured on a few of them; of several layers the largest.
        offset_error: error in canonical pixels that 99 of 100 offsets do not exceed, on the same frames; likewise.
    """

    bytes: int
    spacing: int
    grey_levels: float
    offset_error: float


def write_html(
    path: str | Path,
    video: Video,
    *,
    title: str | None = None,
    limit: int = DEFAULT_LIMIT,
    on_progress: Callable[[float], None] = lambda share: None,
) -> PageReport:
    """Write the page.

    Fields are stored as `encodings` says, more coarsely where the page would exceed `limit`. Canonical images are
    stored with 8 bits, at the resolution from which `render()` samples; illumination with 16; alpha unchanged.

    Args:
        title: heading of the page; default the name of the file.
        limit: largest size of the page, in bytes.
        on_progress: called with the finished share of the work.

    Raises:
        InputError: the page would be larger than `limit` however coarse its fields.
    """
    smallest, path = 0, Path(path)
    for layers in encodings(video, lambda share: on_progress(0.9 * share)):
        page = page_html(video, layers, path.stem if title is None else title).encode()
        smallest = len(page)
        if smallest <= limit:
            with replacing(path) as temporary:
                temporary.write_bytes(page)
            on_progress(1.0)
            return PageReport(
                len(page),
                min(layer.spacing for layer in layers),
                max(layer.grey_levels for layer in layers),
                max(layer.offset_error for layer in layers),
            )
    raise InputError(
        f"the page would have {smallest / 1e6:.1f} MB, the limit is {limit / 1e6:g} MB: raise it, or shorten the clip"
    )


def page_html(video: Video, layers: list[EncodedLayer], title: str, *, embedded: bool = False) -> str:
    """The page as text.

    Args:
        layers: those of the video, or of one that shares its fields.
        embedded: without heading, for an iframe; strokes are posted to the parent page (`embedded.js`).
    """
    root = resources.files("gendef.visualization") / "player"
    pictures = [shown_canonical(layer.video) for layer in video.layers]
    height, width = video.size
    meta = {
        "frames": video.num_frames,
        "fps": video.fps,
        "size": [height, width],
        "view": _enlarged(height, width),
        "largest": layers_scale(video.layers),
        "embedded": embedded,
        "layers": [
            {
                "title": name,
                "start": layer.start,
                "frames": layer.video.num_frames,
                "paint": _enlarged(*picture.shape[:2]),
                "nodes": list(encoded.codec.nodes),
                "step": encoded.codec.step.ravel().tolist(),
                "light": _light(layer.video.illumination, encoded),
                "alpha": layer.alpha is not None,
            }
            for (name, _), layer, encoded, picture in zip(
                video.canonical_images, video.layers, layers, pictures, strict=True
            )
        ],
    }
    tall, wide = pictures[0].shape[:2]
    values = {
        "title": html.escape(title),
        "body": "embedded" if embedded else "alone",
        "style": (root / "player.css").read_text(encoding="utf-8"),
        "script": "\n".join((root / part).read_text(encoding="utf-8") for part in SCRIPTS),
        "video_ratio": f"{width / height:.5f}",
        "canonical_ratio": f"{wide / tall:.5f}",
        "about": html.escape(_about(video)),
        # "<" would end the script element.
        "meta": json.dumps(meta).replace("<", "\\u003c"),
        "data": "\n".join(_data(number, *pair) for number, pair in enumerate(zip(pictures, layers, strict=True))),
    }
    template = (root / "player.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _light(illumination: Any, encoded: EncodedLayer) -> dict[str, Any] | None:
    return None if illumination is None else {"size": list(illumination.shape[1:3]), "step": encoded.light_step}


def _data(number: int, picture: np.ndarray, layer: EncodedLayer) -> str:
    """The elements of the page that hold a layer's canonical image, field, illumination and alpha."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    image = base64.b64encode(file.getvalue()).decode()
    parts = {"field": layer.data, "light": layer.light, "alpha": layer.alpha}
    texts = (
        f'<script type="text/plain" id="{name}{number}">{base64.b64encode(data).decode()}</script>'
        for name, data in parts.items()
    )
    return "\n".join((f'<img id="image{number}" alt="" hidden src="data:image/png;base64,{image}">', *texts))


def _enlarged(height: int, width: int) -> list[int]:
    factor = math.ceil(LEAST_VIEW / min(height, width))
    return [height * factor, width * factor]


def _about(video: Video) -> str:
    (height, width), made = video.size, video.info
    facts: list[Any] = [f"{video.num_frames} frames of {width}x{height}, {video.fps:g} frames a second"]
    if len(video.layers) > 1:
        facts.append(f"{len(video.layers)} layers")
    if "model" in made and "content_seed" in made:
        facts.append(f"model {made['model']}, content {made['content_seed']}, motion {made.get('motion_seed')}")
    return f"{'; '.join(facts)}. Made with gendef; this page works without a network."
