"""The target of an inversion: frames at the model's size, and canonical image and fields of a fit without the model."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.options import FitOptions
from gendef.fitting.progress import ProgressCallback
from gendef.fitting.single_fit import fit_single
from gendef.geometry import identity_grid, sampling_positions, to_normalised
from gendef.media.footage import SMALLEST, Footage, Scene, read_footage, to_tensor

FRAMES = 256
"""Largest number of frames of an inversion."""


@dataclass(frozen=True)
class Target:
    """A clip at the size of a model, with its fit.

    Attributes:
        frames: (T, 3, R, R) in [-1, 1].
        canonical: (3, R, R), the part of a plain fit's canonical image that the reference frame shows.
        fields: (T, R, R, 2), the fields of that fit relative to the reference frame, normalised; zero for that frame.
        trusted: (T, R, R), 1 where the plain fit explains a pixel by a place inside the canonical image, else 0.
        reference: index of the reference frame.
        fps: frames a second.
        numbers: number of each frame in its source.
        notes: what was cut, resized or left out.
    """

    frames: Tensor
    canonical: Tensor
    fields: Tensor
    trusted: Tensor
    reference: int
    fps: float
    numbers: list[int]
    notes: list[str]


def read_square(path: str | Path, side: int, start: int = 0, frames: int | None = None) -> tuple[Scene, Footage]:
    """A clip's longest scene, cut to a square in the middle and resized to `side` pixels.

    Raises:
        DataError: nothing there can be read.
        InputError: an impossible start or number of frames, or too many frames.
    """
    footage = read_footage(path, max(side, SMALLEST), start, frames)
    scene = max(footage.scenes, key=lambda item: len(item.frames))
    if len(scene.frames) > FRAMES:
        raise InputError(
            f"{path} has a scene of {len(scene.frames)} frames, an inversion takes {FRAMES} at most: choose with"
            " --start and --frames"
        )
    notes = list(footage.notes)
    if len(footage.scenes) > 1:
        notes.append(f"of {len(footage.scenes)} scenes, the longest, frames {scene.numbers[0]} to {scene.numbers[-1]}")
    height, width = scene.frames[0].shape[:2]
    if height != width:
        notes.append(f"the model makes squares: {width}x{height} was cut to its middle")
    if min(height, width) < side:
        notes.append(f"the clip is smaller than the model's {side} pixels and was enlarged")
    squares = [_square(frame, side) for frame in scene.frames]
    scene = replace(scene, frames=squares)
    return scene, replace(footage, scenes=[scene], notes=notes)


def _square(frame: np.ndarray, side: int) -> np.ndarray:
    height, width = frame.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = frame[top : top + short, left : left + short]
    if short == side:
        return np.ascontiguousarray(middle)
    return np.asarray(Image.fromarray(middle).resize((side, side), Image.Resampling.LANCZOS))


def find_target(scene: Scene, footage: Footage, name: str, seed: int, on_progress: ProgressCallback) -> Target:
    """The target of an inversion: a fit of the frames without the model.

    The canonical image of a fit is larger than a frame; a generator's has the size of a frame. So the target is the
    part that the reference frame shows, and pixels outside of it have no trust.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    clip = fit_single(scene, footage, FitOptions(quality="fast", seed=seed), name, on_progress=on_progress)
    side = clip.size[0]
    reference = scene.numbers.index(clip.report["reference_frame"])
    places = sampling_positions(clip.deformation, clip.canonical.shape[1:])  # (T, R, R, 2), pixels of the canvas
    corner = places[reference, 0, 0]
    seen = to_normalised(places - corner, (side, side))
    fields = seen - identity_grid(side, side)
    left, top = (round(float(value)) for value in corner)
    canonical = clip.canonical[:, top : top + side, left : left + side]
    if clip.visibility is None:
        raise AssertionError("a fit always has a visibility")
    inside = (seen.abs() <= 1).all(dim=-1)
    return Target(
        frames=to_tensor(scene.frames),
        canonical=canonical,
        fields=fields,
        trusted=(clip.visibility & inside).float(),
        reference=reference,
        fps=footage.fps,
        numbers=scene.numbers,
        notes=footage.notes,
    )


def mean_motion(fields: Tensor) -> float:
    """Mean length of the change from frame to frame of fields (T, R, R, 2), in pixels."""
    if len(fields) < 2:
        return 0.0
    return float(torch.linalg.vector_norm(fields.diff(dim=0), dim=-1).mean()) * fields.shape[1] / 2
