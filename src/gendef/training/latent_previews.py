"""Sheets of a latent model in training, to look at."""

from pathlib import Path

import torch
from torch import Tensor

from gendef.media.images import to_uint8, write_image
from gendef.networks.autoencoder import Autoencoder
from gendef.networks.latent_prior import LatentPrior
from gendef.visualization.drawing import contact_sheet

COLUMNS = 8


@torch.no_grad()
def preview_reconstruction(autoencoder: Autoencoder, images: Tensor, path: Path, device: torch.device) -> None:
    """Images (N, 3, R, R) in [-1, 1] and, below each row of eight, what the autoencoder makes of them."""
    rows = []
    for part in images.split(COLUMNS):
        made = autoencoder(part.to(device)).clamp(-1, 1)
        rows += [list(to_uint8(part)), list(to_uint8(made))]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, contact_sheet(rows))


@torch.no_grad()
def preview_prior(autoencoder: Autoencoder, prior: LatentPrior, path: Path, seed: int, count: int = 16) -> None:
    """Sampled images, from the same noise every time."""
    shape = (count, prior.config.channels, prior.config.size, prior.config.size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    latents = prior.sample(noise.to(prior.mean.device))
    images = torch.cat([autoencoder.decode(part) for part in latents.split(4)]).clamp(-1, 1)
    pictures = list(to_uint8(images))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, contact_sheet([pictures[i : i + COLUMNS] for i in range(0, count, COLUMNS)]))
