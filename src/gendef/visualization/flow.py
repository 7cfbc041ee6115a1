"""Optical flow of a clip, written pair by pair as files and as a drawing (GenDeF, section 4.4)."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from gendef.errors import InputError
from gendef.media.flow_files import write_flo, write_flow_npz
from gendef.media.video_writer import VideoWriter
from gendef.runtime.atomic_folder import staged
from gendef.video.base import Video
from gendef.video.flow import SCALE_FRAMES, Kind, vector_scale
from gendef.visualization.drawing import (
    draw_arrows,
    flow_colours,
    flow_legend,
    side_by_side,
)

Format = Literal["flo", "npz"]
DRAWING = "flow.mp4"


def flow_scale(video: Video, kind: Kind) -> float:
    """`vector_scale` of a clip's flow, in pixels, from at most `SCALE_FRAMES` pairs of frames."""
    step = (video.num_frames - 1) // SCALE_FRAMES + 1
    return vector_scale(torch.stack([video.pair_flow(t, kind) for t in range(0, video.num_frames - 1, step)]))


def write_flow(
    video: Video,
    folder: str | Path,
    kind: Kind,
    form: Format,
    on_pair: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Write the flow of a video, and a drawing of it: frames with arrows beside the colours of the flow.

    Args:
        folder: gets `flow_000000.flo` and so on, or `flow.npz` with one array `flow` (T - 1, H, W, 2), and `flow.mp4`;
            flow files that are there already are replaced once all is written.
        on_pair: called after every pair of frames.

    Returns:
        `mean_speed` and `largest_speed` in pixels a frame, and `known`, the share of pixels that have a flow.

    Raises:
        InputError: the video has one frame only, or `folder` is a file.
    """
    folder, summary = Path(folder), _Summary()
    if video.num_frames < 2:
        raise InputError("flow needs at least two frames, and the clip has one")
    with staged(folder) as stage:
        writer = VideoWriter(stage / DRAWING, video.fps)
        try:
            flows = _drawn(video, kind, writer, summary, on_pair)
            if form == "npz":
                write_flow_npz(stage / "flow.npz", flows, (video.num_frames - 1, *video.size, 2))
            else:
                for t, flow in enumerate(flows):
                    write_flo(stage / f"flow_{t:06d}.flo", flow)
        finally:
            writer.close()
        for old in [*folder.glob("flow_[0-9]*.flo"), folder / "flow.npz"]:
            old.unlink(missing_ok=True)
    return summary.values()


class _Summary:
    """Running statistics of flows."""

    def __init__(self) -> None:
        self._total, self._known, self._pixels, self._largest = 0.0, 0, 0, 0.0

    def add(self, flow: np.ndarray) -> None:
        speed = np.linalg.norm(flow.astype(np.float64), axis=-1)
        known = speed[np.isfinite(speed)]
        self._total += float(known.sum())
        self._known += known.size
        self._pixels += speed.size
        self._largest = max(self._largest, float(known.max(initial=0)))

    def values(self) -> dict[str, float]:
        return {
            "mean_speed": self._total / max(self._known, 1),
            "largest_speed": self._largest,
            "known": self._known / self._pixels,
        }


def _drawn(
    video: Video,
    kind: Kind,
    writer: VideoWriter,
    summary: _Summary,
    on_pair: Callable[[], None],
) -> Iterator[np.ndarray]:
    """Yield the flows (H, W, 2); each is drawn and added to the summary."""
    scale = flow_scale(video, kind)
    size = view_size(video.size)
    # The longest arrows are as long as their spacing.
    stretch = min(size) / 16 / (scale * size[0] / video.size[0])
    legend = flow_legend(min(size) // 5)
    for frame, tensor in zip(
        video.iter_pictures(size), video.iter_flow(kind), strict=False
    ):  # the last frame has no next one
        flow = tensor.numpy()
        colours = flow_colours(flow, scale)
        large = np.asarray(Image.fromarray(colours).resize(size[::-1], Image.Resampling.BICUBIC))
        writer.append(side_by_side([draw_arrows(frame, flow, stretch=stretch), _with_legend(large, legend)]))
        summary.add(flow)
        on_pair()
        yield flow


def view_size(size: tuple[int, int], least: int = 256) -> tuple[int, int]:
    """The size, enlarged by the smallest integer factor for which the shorter side has `least` pixels."""
    factor = math.ceil(least / min(size))
    return size[0] * factor, size[1] * factor


def _with_legend(image: np.ndarray, legend: np.ndarray, gap: int = 6) -> np.ndarray:
    """The image with the colour disc in its lower right corner."""
    image, side = image.copy(), legend.shape[0]
    y, x = (np.mgrid[:side, :side] + 0.5) * 2 / side - 1
    inside = np.hypot(x, y) <= 1
    corner = image[-side - gap : -gap, -side - gap : -gap]
    corner[inside] = legend[inside]
    return image
