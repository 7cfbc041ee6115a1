"""Reading the clip to fit: any video, gif, zip or folder of frames, at the size of the fit, split at its cuts."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.errors import DataError, InputError
from gendef.media.shot_detection import Signature
from gendef.media.video_reader import Damage, Frame, discover, probe, read_frames
from gendef.media.zips import DEFAULT_FPS

SMALLEST = 16
"""Pixels of the shorter side, below which there is nothing to fit."""
BLANK_LEVEL, BLANK_SPREAD = 12, 3
"""A frame is blank if its grey levels are at most this on average, and spread at most so much."""


@dataclass(frozen=True)
class Scene:
    """Consecutive frames without a cut.

    Attributes:
        frames: uint8 (H, W, 3), all of one size.
        numbers: number of each frame in its source.
        blank: indices (into `frames`) of black frames; never all of them.
    """

    frames: list[np.ndarray]
    numbers: list[int]
    blank: list[int]


@dataclass(frozen=True)
class Footage:
    """What was read: scenes, frames a second, what could not be used, and height and width of the source's frames."""

    scenes: list[Scene]
    fps: float
    notes: list[str]
    source_size: tuple[int, int]


def read_footage(path: str | Path, size: int, start: int = 0, frames: int | None = None) -> Footage:
    """Read and resize a clip.

    Args:
        path: a video file, an animated gif, a folder of frames, or a zip of one clip.
        size: pixels of the shorter side; smaller videos keep theirs.
        start: first frame.
        frames: how many at most; default all.

    Raises:
        DataError: nothing there can be read.
        InputError: an impossible size, start or number of frames, or `start` lies beyond the end.
    """
    if size < SMALLEST:
        raise InputError(f"size must be at least {SMALLEST} pixels, got {size}")
    if start < 0:
        raise InputError(f"start must not be negative, got {start}")
    if frames is not None and frames < 1:
        raise InputError(f"frames must be at least 1, got {frames}")
    sources = discover([Path(path)])
    if len(sources) > 1:
        raise DataError(f"{path} holds {len(sources)} videos: name one of them, such as {sources[0].name}")
    source = sources[0]
    images: list[np.ndarray] = []
    numbers: list[int] = []
    notes: list[str] = []
    shapes: set[tuple[int, ...]] = set()
    source_size: tuple[int, int] | None = None
    seen = 0
    for item in read_frames(source):
        if isinstance(item, Damage):
            notes.append(f"{item.where}: {item.reason}")
            continue
        seen = item.index + 1
        if item.index < start:
            continue
        shapes.add(item.image.shape)
        source_size = source_size or (item.image.shape[0], item.image.shape[1])
        images.append(_fitting(item, size, images[0].shape[:2] if images else None))
        numbers.append(item.index)
        if frames is not None and len(images) == frames:
            break
    if not images and seen:
        raise InputError(f"start is frame {start}, but {path} has {seen} frames (0 to {seen - 1})")
    if not images or source_size is None:
        raise DataError(f"{path} holds no readable frame" + (f": {notes[0]}" if notes else ""))
    if len(shapes) > 1:
        height, width = images[0].shape[:2]
        notes.append(f"the frames have {len(shapes)} sizes; all were cut and resized to {width}x{height}")
    scenes = _scenes(images, numbers)
    if len(scenes) > 1:
        begins = ", ".join(str(scene.numbers[0]) for scene in scenes[1:])
        notes.append(f"{len(scenes)} scenes, with cuts at frame {begins}")
    return Footage(scenes, probe(source).fps or DEFAULT_FPS, notes, source_size)


def to_tensor(frames: list[np.ndarray]) -> Tensor:
    """uint8 frames (H, W, 3) -> (T, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(frames)).movedim(-1, 1).float() / 127.5 - 1


def _fitting(frame: Frame, size: int, like: tuple[int, ...] | None) -> np.ndarray:
    """The frame with the shorter side `size`; if others came before, cut in the middle to their shape."""
    height, width = frame.image.shape[:2]
    if min(height, width) < SMALLEST:
        raise DataError(f"frame {frame.index} is {width}x{height}: at least {SMALLEST} pixels are needed")
    if like is None:
        scale = min(size / min(height, width), 1.0)
        target = (round(height * scale), round(width * scale))
    else:
        target = (like[0], like[1])
    if target == (height, width):
        return frame.image
    scale = max(target[0] / height, target[1] / width)
    tall, wide = min(target[0] / scale, height), min(target[1] / scale, width)  # rounding must not lead outside
    left, top = (width - wide) / 2, (height - tall) / 2
    box = (left, top, left + wide, top + tall)
    return np.asarray(Image.fromarray(frame.image).resize(target[::-1], Image.Resampling.BICUBIC, box=box))


def _scenes(images: list[np.ndarray], numbers: list[int]) -> list[Scene]:
    """Runs of frames without a cut; black ones at the ends of a run do not count as a scene of their own."""
    signature = Signature()
    for image in images:
        signature.append(image)
    bounds = [0, *signature.cuts(), len(images)]
    runs = [list(range(first, last)) for first, last in itertools.pairwise(bounds)]
    dark = [_blank(image) for image in images]
    if not all(dark):
        runs = _without_dark_runs(runs, dark)
    scenes = []
    for run in runs:
        blank = [place for place, index in enumerate(run) if dark[index]]
        blank = [] if len(blank) == len(run) else blank
        scenes.append(Scene([images[index] for index in run], [numbers[index] for index in run], blank))
    return scenes


def _without_dark_runs(runs: list[list[int]], dark: list[bool]) -> list[list[int]]:
    """Runs of black frames joined to the run before them, or else to the one after."""
    joined: list[list[int]] = []
    for run in runs:
        all_dark = all(dark[index] for index in run)
        before_dark = bool(joined) and all(dark[index] for index in joined[-1])
        if joined and (all_dark or before_dark):
            joined[-1].extend(run)
        else:
            joined.append(list(run))
    return joined


def _blank(image: np.ndarray) -> bool:
    small = image[::4, ::4]
    return float(small.mean()) <= BLANK_LEVEL and float(small.std()) <= BLANK_SPREAD
