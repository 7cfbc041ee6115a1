"""Differentiable augmentation (Zhao et al. 2020): colour and translation, the same for all frames of a clip."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.runtime.devices import sent
from gendef.training.distributed import SINGLE_PROCESS, Group

MAX_SHIFT = 0.125
"""Largest translation, as a share of the side."""


def diffaug(video: Tensor, generator: torch.Generator, group: Group = SINGLE_PROCESS) -> Tensor:
    """Random colour change and translation of clips (B, T, 3, H, W) in [-1, 1]; pixels from outside the frame are 0.

    Brightness changes by up to 0.5; saturation is scaled by 0 to 2, contrast by 0.5 to 1.5 (Zhao et al. 2020,
    DiffAugment's "color" and "translation"). The result is differentiable with respect to `video`.

    Args:
        video: this process's share of the batch.
        generator: CPU generator in the same state in all processes of `group`.
        group: the processes that share the batch.
    """
    batch = video.shape[0] * group.size
    draws = torch.rand(3, batch, 1, 1, 1, 1, generator=generator)[:, group.share] - 0.5
    draws = sent(draws, video.device).to(video.dtype)
    video = video + draws[0]
    mean = video.mean(dim=2, keepdim=True)
    video = (video - mean) * (2 * draws[1] + 1) + mean
    mean = video.mean(dim=(1, 2, 3, 4), keepdim=True)
    video = (video - mean) * (draws[2] + 1) + mean
    return _translate(video, generator, group)


def _translate(video: Tensor, generator: torch.Generator, group: Group) -> Tensor:
    height, width = video.shape[-2:]
    reach_y, reach_x = int(height * MAX_SHIFT + 0.5), int(width * MAX_SHIFT + 0.5)
    padded = F.pad(video.flatten(1, 2), (reach_x, reach_x, reach_y, reach_y))
    batch = video.shape[0] * group.size
    top = torch.randint(2 * reach_y + 1, (batch,), generator=generator)[group.share]
    left = torch.randint(2 * reach_x + 1, (batch,), generator=generator)[group.share]
    crops = [
        padded[i, :, y : y + height, x : x + width]
        for i, (y, x) in enumerate(zip(top.tolist(), left.tolist(), strict=True))
    ]
    return torch.stack(crops).reshape(video.shape)
