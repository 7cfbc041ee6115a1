"""Optical flow of a clip between neighbouring frames (GenDeF, section 4.4)."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from gendef.geometry import canonical_flow, image_flow
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import SHOWN, LayeredVideo

Kind = Literal["image", "canonical"]


Clip = CanonicalVideo | LayeredVideo


def iter_flow(video: Clip, kind: Kind) -> Iterator[Tensor]:
    """Flow (H, W, 2) from each frame to the next in pixels, one pair at a time; see `CanonicalVideo.flow`.

    In a video of layers each pixel has the flow of the layer that shows there.
    """
    return (_pair(video, kind, t) for t in range(video.num_frames - 1))


def _pair(video: Clip, kind: Kind, t: int) -> Tensor:
    if isinstance(video, LayeredVideo):
        flow = torch.full((*video.size, 2), float("nan"))
        for layer in video.layers:
            if layer.start <= t and t + 1 < layer.end:
                mine = layer.opacity(t) >= SHOWN
                flow[mine] = _pair(layer.video, kind, t - layer.start)[mine]
        return flow
    pair = video.deformation[t : t + 2]
    if kind == "canonical":
        return canonical_flow(pair, video.canonical.shape[1:])[0]
    flow, valid = image_flow(pair)
    return flow[0].masked_fill(~valid[0, ..., None], float("nan"))
