"""A sheet of animated held-out images."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.animation.key_fields import KeyFields
from gendef.animation.prior import MotionPrior
from gendef.data.motions import MotionSet
from gendef.geometry import resize_field, warp
from gendef.media.images import to_uint8, write_image
from gendef.training.motion_preparation import as_frames, label_numbers
from gendef.visualization.drawing import contact_sheet

COLUMNS = 7


def settled(moving: Tensor) -> Tensor:
    """A map of what moves, in [0, 1], with what is unlikely to move at exactly 0 and what is likely to at 1."""
    return ((moving - 0.3) / 0.4).clamp(0, 1)


def plain_frames(image: Tensor, motion: KeyFields, times: Tensor) -> Tensor:
    """Frames (T, 3, H, W) of an image (3, H, W) at `times`: its moving places go, the rest stands still.

    A quick look, without the layers and filling of `gendef.animate`.
    """
    size = image.shape[1:]
    fields = resize_field(motion.at(times), size)
    moving = settled(F.interpolate(motion.moving[None, None], size, mode="bilinear", align_corners=False))
    return warp(image[None], (fields * moving[0, 0, ..., None])[None])[0]


def write_preview(prior: MotionPrior, windows: MotionSet, numbers: Tensor, path: Path, rows: int = 8) -> None:
    """Draw `rows` of the windows whose numbers are given, from different sources, moved by samples of the prior."""
    sources = windows.source[numbers]
    first = [int(numbers[sources == source][0]) for source in sources.unique()]
    spread = torch.linspace(0, len(numbers) - 1, rows).round().long().unique()
    chosen = list(dict.fromkeys([*first, *numbers[spread].tolist()]))[:rows]
    labels = label_numbers(windows, prior.config.labels)
    sheet, names = [], []
    keys = prior.key_times
    times = keys[torch.linspace(0, len(keys) - 1, min(COLUMNS, len(keys))).round().long()]
    for number in chosen:
        image = as_frames(windows.images[number])
        motion = prior.sample(image, number, label=prior.config.labels[int(labels[number])])
        map_ = motion.moving[None].expand(3, -1, -1) * 2 - 1
        shown = F.interpolate(map_[None], image.shape[1:])[0]
        sheet.append([*to_uint8(plain_frames(image, motion, times)), to_uint8(shown)])
        names.append(windows.sources[int(windows.source[number])]["name"][:12])
    columns = [f"{time:+g}" for time in times.tolist()] + ["moving"]
    write_image(path, contact_sheet(sheet, row_labels=names, column_labels=columns))
