"""Adversarial losses and the R1 penalty of both stages."""

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """Discriminator loss of real and fake logits; `kind` "logistic" (Goodfellow et al. 2014, equation 1) or "hinge"
    (Lim and Ye 2017)."""
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: str) -> Tensor:
    """Non-saturating generator loss (Goodfellow et al. 2014, section 3); -mean(logit) for the hinge loss. A scalar."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def r1_penalty(logits: Tensor, inputs: list[Tensor]) -> Tensor:
    """R1 = E |grad D(x)|^2 on real data (Mescheder et al. 2018, equation 9), summed over inputs, mean over the batch.

    Args:
        logits: (B,) or (B, K); K patch logits are averaged first.
        inputs: tensors the logits were computed from; leading size a multiple of B, requires_grad set.
    """
    gradients = torch.autograd.grad(logits.reshape(len(logits), -1).mean(dim=1).sum(), inputs, create_graph=True)
    return sum((item.square().sum() for item in gradients), logits.new_zeros(())) / len(logits)
