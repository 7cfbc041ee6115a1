"""Optical flow of a clip between neighbouring frames (GenDeF, section 4.4), and the scale on which fields are drawn."""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import canonical_flow, image_flow
from gendef.video.layer import SHOWN, Layers

Kind = Literal["image", "canonical"]

SCALE_FRAMES = 16
"""Approximate number of frames, spread over the clip, from which a scale is computed."""
SCALE_PERCENTILE = 99
"""Percentage of the pixels whose vectors are not longer than the scale."""
LEAST_SCALE = 1e-6
"""Smallest scale, in pixels: that of a field of zeros."""


def checked_kind(kind: str) -> Kind:
    """The kind of a flow.

    Raises:
        InputError: neither canonical nor image.
    """
    if kind not in get_args(Kind):
        raise InputError(f"kind must be canonical or image, got {kind!r}")
    return kind  # type: ignore[return-value]


def pair_flow(fields: Tensor, canonical_size: tuple[int, int], kind: Kind) -> Tensor:
    """Flow (H, W, 2) between two frames, from their fields (2, H, W, 2); see `Video.flow`."""
    if kind == "canonical":
        return canonical_flow(fields, canonical_size)[0]
    flow, valid = image_flow(fields)
    return flow[0].masked_fill(~valid[0, ..., None], float("nan"))


def layered_flow(layers: Layers, frame: int, kind: Kind) -> Tensor:
    """Flow (H, W, 2) from a frame to the next, at each pixel that of the topmost layer; NaN where there is none."""
    flow = torch.full((*layers[0].video.size, 2), float("nan"))
    for layer in layers:
        if layer.start <= frame and frame + 1 < layer.end:
            mine = layer.opacity(frame) >= SHOWN
            first = frame - layer.start
            flow[mine] = pair_flow(layer.video.deformation[first : first + 2], layer.canonical_size, kind)[mine]
    return flow


def vector_scale(vectors: Tensor) -> float:
    """Length that `SCALE_PERCENTILE` percent of vectors (..., 2) do not exceed; those that are not finite are left out.

    Drawings give this length full colour, so that a few large vectors do not make all others pale.
    """
    lengths = vectors.norm(dim=-1)
    lengths = lengths[torch.isfinite(lengths)].numpy()
    return max(float(np.percentile(lengths, SCALE_PERCENTILE)) if lengths.size else 0.0, LEAST_SCALE)


def field_scale(deformation: Tensor) -> float:
    """`vector_scale` of a field (T, H, W, 2) in pixels of its frames, from about `SCALE_FRAMES` of them."""
    height, width = deformation.shape[1:3]
    few = deformation[:: max(len(deformation) // SCALE_FRAMES, 1)]
    return vector_scale(few * torch.tensor([width / 2, height / 2]))


def layers_scale(layers: Layers) -> float:
    """The largest `field_scale` of the layers of a clip."""
    return max(field_scale(layer.video.deformation) for layer in layers)
