"""Optical flow read off a canonical video, in a stream, as files and as a drawing (GenDeF, section 4.4)."""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from gendef.errors import InputError
from gendef.media.flow_files import write_flo, write_flow_npz
from gendef.media.images import to_uint8
from gendef.media.video_writer import VideoWriter
from gendef.video.flow import Clip, Kind, _pair, iter_flow
from gendef.visualization.drawing import (
    draw_arrows,
    flow_colours,
    flow_legend,
    side_by_side,
)

Format = Literal["flo", "npz"]
SCALE_PAIRS = 16
"""Pairs of frames from which the scale of a drawing is taken."""
DRAWING = "flow.mp4"


def flow_scale(video: Clip, kind: Kind) -> float:
    """Speed in pixels to draw in full colour: what 99 of 100 pixels do not exceed."""
    step = (video.num_frames - 1) // SCALE_PAIRS + 1
    speeds = [_pair(video, kind, t).norm(dim=-1).numpy().ravel() for t in range(0, video.num_frames - 1, step)]
    known = np.concatenate(speeds)
    known = known[np.isfinite(known)]
    return max(float(np.percentile(known, 99)) if known.size else 0.0, 1e-6)


def write_flow(
    video: Clip,
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
    folder = Path(folder)
    if video.num_frames < 2:
        raise InputError("flow goes from a frame to the next, and the clip has one frame only")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder")
    temporary = folder / f".{os.getpid()}.tmp"
    temporary.mkdir(parents=True)
    summary = _Summary()
    try:
        writer = VideoWriter(temporary / DRAWING, video.fps)
        try:
            flows = _drawn(video, kind, writer, summary, on_pair)
            if form == "npz":
                write_flow_npz(temporary / "flow.npz", flows, (video.num_frames - 1, *video.size, 2))
            else:
                for t, flow in enumerate(flows):
                    write_flo(temporary / f"flow_{t:06d}.flo", flow)
        finally:
            writer.close()
        for old in [*folder.glob("flow_[0-9]*.flo"), folder / "flow.npz"]:
            old.unlink(missing_ok=True)
        for new in temporary.iterdir():
            os.replace(new, folder / new.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return summary.values()


class _Summary:
    """Statistics of flows that are seen one by one."""

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
    video: Clip,
    kind: Kind,
    writer: VideoWriter,
    summary: _Summary,
    on_pair: Callable[[], None],
) -> Iterator[np.ndarray]:
    """Flows (H, W, 2), each drawn and counted on its way."""
    scale = flow_scale(video, kind)
    size = view_size(video.size)
    # The longest arrows reach from one to the next.
    stretch = min(size) / 16 / (scale * size[0] / video.size[0])
    legend = flow_legend(min(size) // 5)
    frames = (frame for chunk in video.iter_frames(size) for frame in to_uint8(chunk))
    for frame, tensor in zip(frames, iter_flow(video, kind), strict=False):  # the last frame has no next one
        flow = tensor.numpy()
        colours = flow_colours(flow, scale)
        large = np.asarray(Image.fromarray(colours).resize(size[::-1], Image.Resampling.BICUBIC))
        writer.append(side_by_side([draw_arrows(frame, flow, stretch=stretch), _with_legend(large, legend)]))
        summary.add(flow)
        on_pair()
        yield flow


def view_size(size: tuple[int, int], least: int = 256) -> tuple[int, int]:
    """The size, enlarged by a whole factor until the shorter side has `least` pixels."""
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
