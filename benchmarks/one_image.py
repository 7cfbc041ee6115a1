"""What one image and a field can hold of real clips, as a detector sees it: a bound for every model of this kind.

    python benchmarks/one_image.py ARCHIVE --detector-weights FILE [--frames 128] [--count 24] [--rows "one image" ...]
    python benchmarks/one_image.py ARCHIVE --detector-weights FILE --model MODEL --rows generated "generated image" \
        "generated motion"

One half of the archive's clips (one of each video) is compared with the other half: as it is, and as its middle frame
moved by chained optical flow; that with each frame's mean colour given back, and with the real frame where the
field leaves the image. With a model, image or fields or both are the model's: which of the two costs how much.
A baseline that paints its frames has only the row "generated".
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gendef.evaluation.detectors import Detector, find_detector
from gendef.evaluation.open_clips import open_clips
from gendef.evaluation.sampling import Sampling
from gendef.geometry import identity_grid, sample, warp
from gendef.media.images import to_uint8
from gendef.model.baseline import load_model
from gendef.model.gendef import GenDeF
from gendef.optical_flow.dis import FlowMethod, dis_flow
from metrics import distances, features

ROWS = ("real", "one image", "mean colours", "real outside")
MODEL_ROWS = ("generated", "generated image", "generated motion")
ENLARGED = 4
"""Flow is computed at so many times the size: the clips are small."""


def frame_flow(first: Tensor, second: Tensor, flow: FlowMethod) -> Tensor:
    """Where pixels of one frame (3, H, W) uint8 go in another, (H, W, 2) in normalised units."""
    height, width = first.shape[1:]
    large = [
        cv2.resize(frame.permute(1, 2, 0).numpy(), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
        for frame in (first, second)
    ]
    small = cv2.resize(flow(*large), (width, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small / (ENLARGED * np.array([width, height]) / 2)).float()


def chained(clip: Tensor, flow: FlowMethod) -> Tensor:
    """Fields (T, H, W, 2) of a clip (T, 3, H, W) that read its middle frame."""
    middle, (height, width) = len(clip) // 2, clip.shape[2:]
    fields, grid = torch.zeros(len(clip), height, width, 2), identity_grid(height, width)
    for step, last in ((1, len(clip)), (-1, -1)):
        for t in range(middle + step, last, step):
            back = frame_flow(clip[t], clip[t - step], flow)
            before = fields[t - step].permute(2, 0, 1)[None]
            fields[t] = back + sample(before, (grid + back)[None])[0].permute(1, 2, 0)
    return fields


def held(clip: Tensor, image: Tensor, fields: Tensor, row: str) -> Tensor:
    """What image (3, H, W) and fields (T, H, W, 2) show of a clip (T, 3, H, W) uint8, the like of it."""
    real = clip.float() / 127.5 - 1
    video = warp(image[None], fields[None])[0]
    if row == "mean colours":
        video = video + (real - video).mean(dim=(2, 3), keepdim=True)
    if row == "real outside":
        outside = (identity_grid(*clip.shape[2:]) + fields).abs().amax(dim=-1) > 1
        video = torch.where(outside[:, None], real, video)
    return in_levels(video)


def in_levels(video: Tensor) -> Tensor:
    """Frames (T, 3, H, W) in [-1, 1] as uint8."""
    return torch.from_numpy(to_uint8(video)).movedim(-1, 1)


def shown(clips: list[Tensor], made: list[Any], row: str, flow: FlowMethod) -> list[Tensor]:
    """The clips as `row` says; `made` are a model's, one for each, if the row needs them."""
    if row == "real":
        return clips
    if row == "generated":
        return [in_levels(video.render()) for video in made]
    videos = []
    for number, clip in enumerate(clips):
        image = clip[len(clip) // 2].float() / 127.5 - 1
        if row == "generated image":
            image = made[number].canonical
        fields = made[number].deformation if row == "generated motion" else chained(clip, flow)
        videos.append(held(clip, image, fields, row))
    return videos


def halves(archive: str, frames: int, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Two disjoint halves of an archive's clips, up to `count` each, one clip of each video."""
    clips = list(open_clips(archive).clips(Sampling(frames=frames, clips_per_video=1, count=2 * count)))
    order = np.random.default_rng(0).permutation(len(clips))
    mine, theirs = ([clips[i] for i in half] for half in np.array_split(order[: 2 * count], 2))
    return mine, theirs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("--detector", default="i3d")
    parser.add_argument("--detector-weights", type=Path)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--count", type=int, default=24, help="clips of each half")
    parser.add_argument("--rows", nargs="+", choices=(*ROWS, *MODEL_ROWS), help="default: all, a model's with --model")
    parser.add_argument("--model", help="whose images and fields the rows called generated have")
    options = parser.parse_args()
    rows = options.rows or [*ROWS, *(MODEL_ROWS if options.model else ())]
    if options.model is None and set(rows) & set(MODEL_ROWS):
        parser.error(f"{', '.join(MODEL_ROWS)} need --model")
    mine, theirs = halves(options.archive, options.frames, options.count)
    made = []
    if options.model:
        model = load_model(options.model)
        if not isinstance(model, GenDeF) and set(rows) & set(MODEL_ROWS[1:]):
            parser.error(f"{model.kind} paints its frames: of its rows there is only {MODEL_ROWS[0]!r}")
        if mine[0].shape[2:] != (model.resolution, model.resolution):
            parser.error(f"the model makes videos of {model.resolution} pixels, the clips have {mine[0].shape[2]}")
        made = [model.sample(seed=seed, num_frames=options.frames) for seed in range(len(mine))]
    detector = Detector(find_detector(options.detector), options.detector_weights)
    others, flow = features(detector, theirs), dis_flow()
    for row in rows:
        found = distances(features(detector, shown(mine, made, row, flow)), others)
        print(json.dumps({"row": row, "clips": len(mine), **{k: round(v, 2) for k, v in found.items()}}), flush=True)


if __name__ == "__main__":
    main()
