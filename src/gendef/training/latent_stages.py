"""The two stages of a latent model: networks, optimiser, average and random state of each."""

from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.metrics.lpips import LPIPS
from gendef.networks.autoencoder import Autoencoder
from gendef.networks.latent_prior import LatentPrior, logit_normal_times
from gendef.runtime.precision import autocast, compute_dtype
from gendef.training.ema import average_of, update_average
from gendef.training.latent_config import AutoencoderStageConfig, LatentStageConfig, LatentTrainConfig

Network = TypeVar("Network", bound=nn.Module)


class LatentStage(Generic[Network]):
    """One network in training; subclasses add the loss."""

    name = ""

    def __init__(
        self, config: LatentTrainConfig, settings: LatentStageConfig, network: Network, device: torch.device
    ) -> None:
        self.settings, self.device = settings, device
        # Convolutions on a CPU are a fifth faster with channels last.
        self.network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = average_of(self.network)
        self.dtype = compute_dtype(config.precision, device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.noise = torch.Generator().manual_seed(config.seed)
        self.step_number, self.images_seen = 0, 0

    def update(self, loss: Tensor, batch: int) -> None:
        """One step of the optimiser and of the average."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate(self.images_seen)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step_number += 1
        self.images_seen += batch
        update_average(self.average, self.network, batch, self.images_seen, self.settings.ema_images)

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "noise": self.noise.get_state(),
            "step_number": self.step_number,
            "images_seen": self.images_seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.noise.set_state(state["noise"])
        self.step_number, self.images_seen = state["step_number"], state["images_seen"]


class AutoencoderStage(LatentStage[Autoencoder]):
    """Reconstruction: absolute error of pixels and of 4x4 means, squared error of 8x8 means, and LPIPS."""

    name = "autoencoder"

    def __init__(self, config: LatentTrainConfig, lpips: LPIPS | None, device: torch.device) -> None:
        super().__init__(config, config.autoencoder_stage, Autoencoder(config.autoencoder), device)
        self.own: AutoencoderStageConfig = config.autoencoder_stage
        self.lpips = None if lpips is None else lpips.to(device)
        self._freeze()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        super().load_state_dict(state)
        self._freeze()

    def _freeze(self) -> None:
        if self.own.freeze_encoder:
            self.network.encoder.load_state_dict(self.average.encoder.state_dict())
            self.network.encoder.requires_grad_(False)

    def step(self, images: Tensor) -> dict[str, Tensor]:
        """Train on images (B, 3, R, R) in [-1, 1], of which each gives one crop."""
        crops = random_crops(images, self.own.crop, self.noise).to(self.device)
        shape = (len(crops), self.network.config.latent_channels, self.own.crop // 8, self.own.crop // 8)
        noise = (self.own.latent_noise * torch.randn(shape, generator=self.noise)).to(self.device)
        with autocast(self.dtype, self.device):
            made = self.network(crops, noise)
        pixels = (made - crops).abs().mean()
        coarse = F.avg_pool2d(made - crops, 4).abs().mean()
        colour = F.avg_pool2d(made - crops, 8).square().mean()
        metrics = {"l1": pixels.detach(), "coarse": coarse.detach(), "colour": colour.detach()}
        loss = pixels + self.own.coarse_weight * coarse + self.own.colour_weight * colour
        if self.lpips is not None:
            count = max(round(self.own.lpips_share * len(crops)), 1)
            with autocast(self.dtype, self.device):
                distance = self.lpips(made[:count], crops[:count]).mean()
            metrics["lpips"] = distance.detach()
            loss = loss + self.own.lpips_weight * distance
        self.update(loss, len(crops))
        return {"loss": loss.detach(), **metrics}


class PriorStage(LatentStage[LatentPrior]):
    """Flow matching on latents; every source of the data is drawn equally often.

    Args:
        latents: (N, C, S, S) of the data, as the autoencoder gives them.
        sources: (N,) number of the source of each.
    """

    name = "prior"

    def __init__(self, config: LatentTrainConfig, latents: Tensor, sources: Tensor, device: torch.device) -> None:
        network = LatentPrior(config.prior)
        # Half-precision latents are summed in float64: a sum of millions would overflow.
        values = latents.double()
        network.mean.copy_(values.mean(dim=(0, 2, 3))[:, None, None])
        network.std.copy_(values.std(dim=(0, 2, 3))[:, None, None].clamp_min(1e-4))
        super().__init__(config, config.prior_stage, network, device)
        self.latents = latents
        self.weights = 1.0 / torch.bincount(sources)[sources].double()

    def step(self) -> dict[str, Tensor]:
        """Train on one batch."""
        count = self.settings.batch_size
        rows = torch.multinomial(self.weights, count, replacement=True, generator=self.noise)
        times = logit_normal_times(count, self.noise).to(self.device)
        noise = torch.randn((count, *self.latents.shape[1:]), generator=self.noise).to(self.device)
        latents = self.network.normalise(self.latents[rows].float().to(self.device))
        with autocast(self.dtype, self.device):
            loss = self.network.loss(latents, noise, times).mean()
        self.update(loss, count)
        return {"loss": loss.detach()}


def random_crops(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """One crop (3, side, side) at a random place of each image (B, 3, R, R); whole images where R is not larger."""
    resolution = images.shape[-1]
    if resolution <= side:
        return images
    places = torch.randint(resolution - side + 1, (len(images), 2), generator=generator).tolist()
    crops = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(images, places, strict=True)]
    return torch.stack(crops)
