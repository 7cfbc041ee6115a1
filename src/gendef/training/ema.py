"""Exponential moving average of the generator's weights."""

import copy
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def average_of(generator: Network) -> Network:
    """A copy of `generator` in eval mode without gradients, to hold the moving average."""
    return copy.deepcopy(generator).eval().requires_grad_(False)


def running_means(module: nn.Module) -> dict[str, torch.Tensor]:
    """Running means that a forward pass updates, by name: the mean latent `w_avg`, and StyleGAN3's `magnitude_ema`."""
    buffers = module.named_buffers()
    return {name: buffer for name, buffer in buffers if name.endswith(("w_avg", "magnitude_ema"))}


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, batch: int, seen: int, half_life: float) -> None:
    """Move `average` towards `current` after a step of `batch` images; buffers are copied.

    The half-life is at most 5 % of the images seen (Karras et al. 2020 use the same ramp), so that the random
    initial weights fade early in training.
    """
    half_life = min(half_life, 0.05 * seen)
    keep = 0.5 ** (batch / max(half_life, 1e-8))
    own: list[torch.Tensor] = list(average.parameters())
    other: list[torch.Tensor] = list(current.parameters())
    torch._foreach_lerp_(own, other, 1 - keep)
    for mine, theirs in zip(average.buffers(), current.buffers(), strict=True):
        mine.copy_(theirs)
