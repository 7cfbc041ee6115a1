"""Clips side by side: before and after an edit, one content with several motions."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from gendef.media.images import to_uint8
from gendef.video.base import Video
from gendef.visualization.drawing import (
    contact_sheet,
    spread_frames,
)
from gendef.visualization.figure import fitted, scaled_size

LEAST_SIDE, SHEET_SIDE = 256, 176


def comparison_frames(videos: Sequence[Video], columns: int | None = None) -> Iterator[np.ndarray]:
    """Frames of several clips of one length in a table, uint8 (H, W, 3), for a video.

    Args:
        columns: clips a row; default as many as make the table about square, two in one row.
    """
    columns = columns or max(math.ceil(math.sqrt(len(videos))), 2)
    size = scaled_size(videos[0].size, max(LEAST_SIDE, min(videos[0].size)) if len(videos) <= columns else LEAST_SIDE)
    for pictures in zip(*(video.iter_pictures(size) for video in videos), strict=True):
        rows = [list(pictures[start : start + columns]) for start in range(0, len(pictures), columns)]
        yield contact_sheet(rows, 4)


def comparison_sheet(videos: Sequence[Video], names: Sequence[str], count: int = 6) -> np.ndarray:
    """A picture with a row for each clip: the canonical images of its layers, and frames spread over the clip.

    Clips with fewer layers have white pictures in their place. Returns uint8 (H, W, 3).
    """
    length = min(video.num_frames for video in videos)
    chosen = spread_frames(length, count)
    size = scaled_size(videos[0].size, SHEET_SIDE)
    titles = max(([title for title, _ in video.canonical_images] for video in videos), key=len)
    rows = []
    for video in videos:
        canonicals = [_centred(fitted(picture, size), size) for _, picture in video.canonical_images]
        canonicals += [np.full((*size, 3), 255, np.uint8)] * (len(titles) - len(canonicals))
        rows.append([*canonicals, *to_uint8(video.render(size, chosen))])
    labels = [*titles, *(f"frame {t}" for t in chosen)]
    return contact_sheet(rows, 4, row_labels=names, column_labels=labels)


def _centred(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture in the middle of a white one of `size`."""
    room = np.full((*size, 3), 255, np.uint8)
    top, left = (size[0] - picture.shape[0]) // 2, (size[1] - picture.shape[1]) // 2
    room[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return room


def extent_of_change(before: Video, after: Video) -> tuple[float, float]:
    """Extent of an edit: the share of changed pixels over all frames, and their mean change in grey levels."""
    changed, total, pixels = 0, 0.0, 0
    for one, other in zip(before.iter_frames(), after.iter_frames(), strict=True):
        difference = (one.clamp(-1, 1) - other.clamp(-1, 1)).abs().amax(dim=1) * 127.5
        touched = difference > 0
        changed += int(touched.sum())
        total += float(torch.where(touched, difference, 0).sum(dtype=torch.float64))
        pixels += difference.numel()
    return changed / pixels, total / max(changed, 1)
