"""Losses of the two stages, and what is logged about fields."""

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """Loss of real and fake logits, `kind` "logistic" (Goodfellow et al. 2014) or "hinge"."""
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: str) -> Tensor:
    """Non-saturating loss of fake logits."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def r1_penalty(logits: Tensor, inputs: list[Tensor]) -> Tensor:
    """Squared gradient norm of the real logits (Mescheder et al. 2018): summed over inputs, averaged over the batch.

    Args:
        logits: (B,) or (B, K); patch logits count by their mean.
        inputs: what the logits were computed from, with leading size a multiple of B, requiring gradients.
    """
    gradients = torch.autograd.grad(logits.reshape(len(logits), -1).mean(dim=1).sum(), inputs, create_graph=True)
    return sum((item.square().sum() for item in gradients), logits.new_zeros(())) / len(logits)
