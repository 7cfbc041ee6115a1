"""Reading the clip to fit: any video, gif, zip or folder of frames, at the size of the fit, split at its cuts."""

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.errors import DataError, InputError
from gendef.media.frame_times import checked_fps
from gendef.media.shot_detection import Signature
from gendef.media.sources import discover
from gendef.media.video_file import VideoFacts
from gendef.media.video_reader import (
    Damage,
    probe,
    read_frames,
)
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
        numbers: number of each frame in its source, from 0.
        blank: indices (into `frames`) of black frames; never all of them.
        times: of the frames, in seconds from the first of the source; empty where they are not known.
        alpha: uint8 (H, W) of each frame, None where the source has none.
    """

    frames: list[np.ndarray]
    numbers: list[int]
    blank: list[int]
    times: list[float] = field(default_factory=list)
    alpha: list[np.ndarray] | None = None


@dataclass(frozen=True)
class Footage:
    """What was read.

    Attributes:
        scenes: runs of frames without a cut.
        fps: frames a second, of the source or as asked for.
        notes: what a user must know: what could not be used, and what was converted.
        source_size: height and width of the source's frames.
        facts: of the video stream; None for pictures.
    """

    scenes: list[Scene]
    fps: float
    notes: list[str]
    source_size: tuple[int, int]
    facts: VideoFacts | None = None


def read_footage(
    path: str | Path,
    size: int,
    start: int = 0,
    frames: int | None = None,
    *,
    fps: float | None = None,
    stream: int | None = None,
) -> Footage:
    """Read and resize a clip.

    Args:
        path: a video file, an animated picture, a folder of frames, or a zip of one clip.
        size: pixels of the shorter side; smaller videos keep theirs.
        start: first frame.
        frames: how many at most; default all.
        fps: frames a second, instead of what the source says; frames are then evenly spaced.
        stream: which video stream of a file; default the film.

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
    source = replace(sources[0], stream=stream)
    known = probe(source)
    images: list[np.ndarray] = []
    alphas: list[np.ndarray | None] = []
    numbers: list[int] = []
    times: list[float] = []
    notes = list(known.notes)
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
        like = images[0].shape[:2] if images else None
        images.append(_fitting(item.image, item.index, size, like))
        alphas.append(None if item.alpha is None else _fitting(item.alpha, item.index, size, images[0].shape[:2]))
        numbers.append(item.index)
        times.append(item.time)
        if frames is not None and len(images) == frames:
            break
    if not images and seen:
        raise InputError(f"start is frame {start}, but {path} has {seen} frames (0 to {seen - 1})")
    if not images or source_size is None:
        raise DataError(f"{path} holds no readable frame" + (f": {notes[0]}" if notes else ""))
    if len(shapes) > 1:
        height, width = images[0].shape[:2]
        notes.append(f"the frames have {len(shapes)} sizes; all were cut and resized to {width}x{height}")
    rate = checked_fps(fps) if fps is not None else known.fps or DEFAULT_FPS
    if fps is not None or not known.fps:
        times = [number / rate for number in numbers]
        notes = [note for note in notes if "--fps" not in note] if fps is not None else notes
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        notes.append(f"the frame times of {path} do not increase: {rate:g} frames a second are used")
        times = [number / rate for number in numbers]
    alpha = (
        None
        if all(one is None for one in alphas)
        else [_opaque_if_none(*pair) for pair in zip(alphas, images, strict=True)]
    )
    scenes = _scenes(images, numbers, times, alpha)
    if len(scenes) > 1:
        begins = ", ".join(str(scene.numbers[0]) for scene in scenes[1:])
        notes.append(f"{len(scenes)} scenes, with cuts at frame {begins}")
    return Footage(scenes, rate, notes, source_size, known.facts)


def _opaque_if_none(alpha: np.ndarray | None, image: np.ndarray) -> np.ndarray:
    return np.full(image.shape[:2], 255, np.uint8) if alpha is None else alpha


def to_tensor(frames: list[np.ndarray]) -> Tensor:
    """uint8 frames (H, W, 3) -> (T, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(frames)).movedim(-1, 1).float() / 127.5 - 1


def _fitting(image: np.ndarray, number: int, size: int, like: tuple[int, ...] | None) -> np.ndarray:
    """A frame with the shorter side `size`; if others came before, cut in the middle to their shape."""
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        raise DataError(f"frame {number} is {width}x{height}: at least {SMALLEST} pixels are needed")
    if like is None:
        scale = min(size / min(height, width), 1.0)
        target = (round(height * scale), round(width * scale))
    else:
        target = (like[0], like[1])
    if target == (height, width):
        return image
    scale = max(target[0] / height, target[1] / width)
    tall, wide = min(target[0] / scale, height), min(target[1] / scale, width)  # rounding must not lead outside
    left, top = (width - wide) / 2, (height - tall) / 2
    box = (left, top, left + wide, top + tall)
    return np.asarray(Image.fromarray(image).resize(target[::-1], Image.Resampling.BICUBIC, box=box))


def _scenes(
    images: list[np.ndarray], numbers: list[int], times: list[float], alpha: list[np.ndarray] | None
) -> list[Scene]:
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
        matte = None if alpha is None else [alpha[index] for index in run]
        scenes.append(
            Scene(
                [images[index] for index in run],
                [numbers[index] for index in run],
                blank,
                [times[index] for index in run],
                matte,
            )
        )
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
