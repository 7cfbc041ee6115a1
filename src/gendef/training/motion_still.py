"""Pictures in which nothing moves as far as a domain is concerned: they teach a motion prior what stands still."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gendef.data.motions import MotionSet
from gendef.errors import DataError
from gendef.media.sources import discover
from gendef.media.video_reader import (
    Frame,
    read_frames,
)

SPACING = 25
"""Frames between two pictures of a video."""
MOST = 16
"""Pictures of one video."""


def still_pictures(paths: Sequence[Path], like: MotionSet) -> MotionSet:
    """Pictures of videos or folders, as windows without motion.

    Args:
        paths: video files, folders of pictures, folders of those. What they show should never move in the domain: for
            "sky", everything but skies.
        like: motion data of the shapes and key times wanted.

    Raises:
        DataError: there is no picture.
    """
    images: list[np.ndarray] = []
    numbers: list[int] = []
    names: list[str] = []
    side, grid, keys = like.images.shape[-1], like.fields.shape[2], len(like.key_times)
    for source in discover(paths):
        found = 0
        for frame in read_frames(source):
            if not isinstance(frame, Frame) or frame.index % SPACING:
                continue
            small = Image.fromarray(frame.image).resize((side, side), Image.Resampling.BOX)
            images.append(np.moveaxis(np.asarray(small), -1, 0))
            numbers.append(len(names))
            found += 1
            if found == MOST:
                break
        if found:
            names.append(source.identity or source.path.name)
    if not images:
        raise DataError(f"{', '.join(map(str, paths))} hold no readable picture")
    count = len(images)
    return MotionSet(
        fields=torch.zeros(count, keys, grid, grid, 2, dtype=torch.float16),
        visible=torch.full((count, keys, grid, grid), 255, dtype=torch.uint8),
        images=torch.from_numpy(np.stack(images)),
        source=torch.tensor(numbers, dtype=torch.int32),
        start=torch.zeros(count, dtype=torch.int32),
        span=torch.ones(count, dtype=torch.int32),
        psnr=torch.full((count,), 60.0),
        still_psnr=torch.full((count,), 60.0),
        sources=tuple({"name": name, "label": "still", "windows": numbers.count(i)} for i, name in enumerate(names)),
        key_times=like.key_times,
        settings=like.settings,
    )
