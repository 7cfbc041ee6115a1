"""Base of both training stages: networks, optimisers, noise, and the two updates of a step."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from gendef.data.clips import ClipBatch
from gendef.networks.baselines import AnyGenerator
from gendef.networks.layers import at_least_float32
from gendef.runtime.devices import sent
from gendef.runtime.precision import autocast, compute_dtype
from gendef.training.ada import AdaptiveAugment
from gendef.training.config import StageConfig, TrainConfig
from gendef.training.diffaug import diffaug
from gendef.training.discriminators import FrameFeatures, TwoStageDiscriminator
from gendef.training.distributed import SINGLE_PROCESS, Group
from gendef.training.ema import average_of, running_means, update_average
from gendef.training.losses import r1_penalty

Metrics = dict[str, Tensor]
Outputs = tuple[Tensor, ...]


class Stage:
    """Networks, optimisers, averaged generator and random state of one stage; subclasses add the losses.

    Each process of a `group` calls `step` with its share of the batch; weights and optimisers stay equal in all.
    The discriminator's `micro_batches` limit how many samples are computed at once.
    """

    name = ""
    num_frames = 1

    def __init__(
        self,
        config: TrainConfig,
        settings: StageConfig,
        generator: AnyGenerator,
        discriminator: TwoStageDiscriminator,
        device: torch.device,
        group: Group = SINGLE_PROCESS,
    ) -> None:
        self.config, self.settings, self.device, self.group = config, settings, device, group
        self.micro_batches = discriminator.micro_batches
        self.generator, self.discriminator = generator.to(device).train(), discriminator.to(device).train()
        self.average = average_of(self.generator)
        self.average.compute_dtype = None
        self.dtype = self.generator.compute_dtype = compute_dtype(config.precision, device)
        self.noise = torch.Generator().manual_seed(config.seed)
        self.ada = AdaptiveAugment().to(device) if settings.augment == "ada" else None
        self.step_number, self.images_seen = 0, 0
        self.seconds = 0.0
        """Cost of the training so far: processor seconds on a CPU, wall-clock seconds on other devices."""
        betas = (settings.beta1, settings.beta2)
        self.generator_optimiser = torch.optim.Adam(self._generator_groups(), betas=betas, eps=1e-8, fused=True)
        # Lazy regularisation stretches the discriminator's time scale (Karras et al. 2020, appendix B).
        lazy = settings.r1_interval / (settings.r1_interval + 1) if settings.r1_gamma else 1.0
        self.discriminator_parameters = [p for p in self.discriminator.parameters() if p.requires_grad]
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator_parameters,
            lr=settings.lr_discriminator * lazy,
            betas=(betas[0] ** lazy, betas[1] ** lazy),
            eps=1e-8,
            fused=True,
        )

    def _generator_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.generator.content_parameters()), "lr": self.settings.lr_generator}]

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on, as tensors and plain values."""
        return {
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "ada": self.ada.state_dict() if self.ada else {},
            "noise": self.noise.get_state(),
            "step_number": self.step_number,
            "images_seen": self.images_seen,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.discriminator.load_state_dict(state["discriminator"])
        _continue(self.generator_optimiser, state["generator_optimiser"])
        _continue(self.discriminator_optimiser, state["discriminator_optimiser"])
        if self.ada:
            self.ada.load_state_dict(state["ada"])
        self.noise.set_state(state["noise"])
        self.step_number, self.images_seen = state["step_number"], state["images_seen"]
        self.seconds = state.get("seconds", 0.0)  # checkpoints of version 0.1 do not count them

    def latents(self, batch: int) -> Tensor:
        """(batch, z_dim)."""
        return self.normal(batch, self.generator.z_dim)

    def normal(self, batch: int, *shape: int) -> Tensor:
        """Normal noise (batch, *shape): this process's share of the group's."""
        everywhere = torch.randn(batch * self.group.size, *shape, generator=self.noise)
        return sent(everywhere[self.group.share], self.device)

    def augmented(self, video: Tensor) -> Tensor:
        """`video` (B, T, 3, R, R) after the augmentation that the settings name."""
        if self.ada is not None:
            return self.ada(video, self.noise, self.group)
        return diffaug(video, self.noise, self.group) if self.settings.augment == "diffaug" else video

    def real(self, batch: ClipBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Augmented real clips in [-1, 1], their times and labels, on the device."""
        video = sent(batch.video, self.device).float() / 127.5 - 1
        labels = None if batch.labels is None else sent(batch.labels, self.device)
        return self.augmented(video), sent(batch.times, self.device), labels

    def generated(self, function: Callable[..., Outputs], *inputs: Tensor | None) -> Outputs:
        """`function(*inputs)`, which runs the generator, computed in micro-batches."""
        return self.micro_batches.run(function, *inputs, module=self.generator)

    def discriminator_autocast(self) -> AbstractContextManager[object]:
        """Context for the discriminator's forward passes; the generator applies its own autocast."""
        return autocast(self.dtype, self.device)

    def step(self, batch: ClipBatch, fake_times: Tensor) -> Metrics:
        """Update the discriminator and the generator once from one batch; returns scalars to log."""
        metrics = self._update(batch, fake_times)
        self._freeze_discriminator(False)
        size = len(batch.video) * self.group.size
        self.group.average_((*running_means(self.generator).values(), metrics["sign_real"]))
        self.step_number += 1
        self.images_seen += size
        if self.ada is not None:
            self.ada.update(metrics["sign_real"], size, self.settings.ada_target, self.settings.ada_images)
            metrics["ada_p"] = self.ada.p.clone()
        update_average(self.average, self.generator, size, self.images_seen, self.settings.ema_images)
        return metrics

    def _update(self, batch: ClipBatch, fake_times: Tensor) -> Metrics:
        raise TypeError(f"{type(self).__name__} has no update")

    def _update_discriminator(
        self, loss: Tensor, real: FrameFeatures, clips: int, logits: Callable[[FrameFeatures, slice], Tensor]
    ) -> Metrics:
        """Step the optimiser on `loss` and, every r1_interval steps, on the R1 penalty (lazy regularisation).

        R1 is taken with respect to the frame features of the real clips. StyleGAN-V's discriminator uses the frames
        themselves as features, which gives the usual R1. With frozen features it regularises the trained heads only.

        Args:
            loss: discriminator loss, a scalar.
            real: frame features of the real clips.
            clips: number of real clips.
            logits: (features of a micro-batch, its slice of the batch) -> logits with one row a clip.
        """
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        metrics = {}
        if self.settings.r1_gamma and self.step_number % self.settings.r1_interval == 0:
            metrics["r1"] = loss.new_zeros(())
            for part in self.micro_batches.of(clips):
                own = [item.unflatten(0, (clips, -1))[part].flatten(0, 1) for item in real]
                leaves = [at_least_float32(item.detach()).requires_grad_() for item in own]
                penalty = r1_penalty(logits(leaves, part), leaves) * ((part.stop - part.start) / clips)
                (penalty * (self.settings.r1_gamma / 2 * self.settings.r1_interval)).backward()
                metrics["r1"] += penalty.detach()
        self.group.average_gradients(self.discriminator_parameters)
        self.discriminator_optimiser.step()
        return metrics

    def _freeze_discriminator(self, frozen: bool) -> None:
        for parameter in self.discriminator_parameters:
            parameter.requires_grad_(not frozen)

    def _update_generator(self, loss: Tensor) -> None:
        """Step the generator's optimiser on `loss`; the discriminator must be frozen."""
        self.generator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.group.average_gradients(self.generator.parameters())
        self.generator_optimiser.step()


def _continue(optimiser: torch.optim.Adam, state: dict[str, Any]) -> None:
    """Load `state` and keep the fused form of Adam; version 0.1 saved `fused=False`."""
    optimiser.load_state_dict({**state, "param_groups": [{**group, "fused": True} for group in state["param_groups"]]})
