"""Canonical images from a latent model: noise, the prior, the decoder."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendef.errors import ModelError
from gendef.model.hub import find_model
from gendef.model.latent_files import load_latent, save_prior
from gendef.model.sampling import checked_truncation, hash_of_weights, random_numbers
from gendef.networks.autoencoder import FACTOR, Autoencoder
from gendef.networks.latent_prior import LatentPrior

STEPS = 24
"""Steps of the sampler, two evaluations of the prior each. docs/models.md has what fewer cost."""


class LatentImages:
    """Images of a domain by seed.

    Args:
        autoencoder, prior: the networks.
        info: plain values kept with the model (data, images seen, fps).
    """

    def __init__(self, autoencoder: Autoencoder, prior: LatentPrior, info: dict[str, Any] | None = None) -> None:
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.prior = prior.eval().requires_grad_(False)
        self.info = dict(info or {})

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, *, device: str | torch.device = "cpu") -> "LatentImages":
        """The image side of a latent model, by built-in name, folder, or hub repository.

        Raises:
            ModelError: there is no such model, it is of another kind or damaged, or holds an autoencoder alone.
        """
        autoencoder, prior, info = load_latent(find_model(str(name_or_folder)))
        if prior is None:
            raise ModelError(
                f"{name_or_folder} holds an autoencoder and no prior: train one with"
                f"  gendef train --model latent --stage prior --from-autoencoder {name_or_folder}"
            )
        return cls(autoencoder.to(device), prior.to(device), info)

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write `model.safetensors` and `config.json`; `half` stores float16 weights."""
        save_prior(folder, self.autoencoder, self.prior, self.info, half=half)

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.prior.config.size * FACTOR

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.prior.mean.device

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, 16 hexadecimal digits."""
        return hash_of_weights(torch.nn.ModuleList([self.autoencoder, self.prior]))

    def latents(self, seed: int, *, truncation: float = 1.0, steps: int = STEPS) -> Tensor:
        """Latents (C, S, S) of the image of `seed`, on the CPU.

        Args:
            truncation: factor on the noise that the flow starts from; less than 1 gives more common images.
            steps: of the sampler.

        Raises:
            InputError: a number is out of range.
        """
        checked_truncation(truncation)
        config = self.prior.config
        noise = torch.randn((1, config.channels, config.size, config.size), generator=random_numbers("content", seed))
        # One image at a time: other sizes of a batch would round differently.
        return self.prior.sample(truncation * noise.to(self.device), steps)[0].cpu()

    @torch.no_grad()
    def image(self, seed: int, *, truncation: float = 1.0, steps: int = STEPS) -> Tensor:
        """The image (3, R, R) of `seed` in [-1, 1], on the CPU; the arguments are those of `latents`."""
        latents = self.latents(seed, truncation=truncation, steps=steps)
        return self.autoencoder.decode_tiled(latents[None].to(self.device))[0].clamp(-1, 1).cpu()
