"""One step of each stage: pretraining on single frames, finetuning on clips (GenDeF section 3.4)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gendef.data.clips import ClipBatch
from gendef.networks.generator import Generator
from gendef.networks.painting import AnyGenerator, PaintingGenerator
from gendef.training.ada import AdaptiveAugment
from gendef.training.config import FinetuneConfig, StageConfig, TrainConfig
from gendef.training.critics import Critic, Representation
from gendef.training.diffaug import diffaug
from gendef.training.distribution import ALONE, Group
from gendef.training.ema import average_of, running_means, update_average
from gendef.training.losses import (
    discriminator_loss,
    field_statistics,
    folding_penalty,
    generator_loss,
    r1_penalty,
    slowness_penalty,
    spatial_smoothness,
    temporal_smoothness,
)
from gendef.training.precision import autocast

Metrics = dict[str, Tensor]


def _detached(frames: Representation) -> Representation:
    return [item.detach() for item in frames]


class Stage:
    """Networks, optimisers, averaged generator and random state of one stage; subclasses add the losses.

    With a `group` of processes, each calls `step` with its share of the batch, and all stay alike.
    """

    name = ""
    num_frames = 1

    def __init__(
        self,
        config: TrainConfig,
        settings: StageConfig,
        generator: AnyGenerator,
        critic: Critic,
        device: torch.device,
        group: Group = ALONE,
    ) -> None:
        self.config, self.settings, self.device, self.group = config, settings, device, group
        self.generator, self.critic = generator.to(device).train(), critic.to(device).train()
        self.average = average_of(self.generator)
        self.noise = torch.Generator().manual_seed(config.seed)
        self.ada = AdaptiveAugment().to(device) if settings.augment == "ada" else None
        self.step_number, self.images_seen = 0, 0
        self.seconds = 0.0
        """What training has cost so far: processor seconds on a CPU, elsewhere seconds of the clock."""
        betas = (settings.beta1, settings.beta2)
        self.generator_optimiser = torch.optim.Adam(self._generator_groups(), betas=betas, eps=1e-8)
        # Lazy regularisation stretches the critic's time scale (Karras et al. 2020, appendix B).
        lazy = settings.r1_interval / (settings.r1_interval + 1) if settings.r1_gamma else 1.0
        self.critic_parameters = [p for p in self.critic.parameters() if p.requires_grad]
        self.critic_optimiser = torch.optim.Adam(
            self.critic_parameters,
            lr=settings.lr_discriminator * lazy,
            betas=(betas[0] ** lazy, betas[1] ** lazy),
            eps=1e-8,
        )

    def _generator_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.generator.content_parameters()), "lr": self.settings.lr_generator}]

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "critic": self.critic.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "ada": self.ada.state_dict() if self.ada else {},
            "noise": self.noise.get_state(),
            "step_number": self.step_number,
            "images_seen": self.images_seen,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.critic.load_state_dict(state["critic"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])
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
        return everywhere[self.group.share].to(self.device)

    def augmented(self, video: Tensor) -> Tensor:
        """What the critic is shown instead of `video` (B, T, 3, R, R)."""
        if self.ada is not None:
            return self.ada(video, self.noise, self.group)
        return diffaug(video, self.noise, self.group) if self.settings.augment == "diffaug" else video

    def real(self, batch: ClipBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Augmented real clips in [-1, 1], their times and labels, on the device."""
        video = batch.video.to(self.device).float() / 127.5 - 1
        labels = None if batch.labels is None else batch.labels.to(self.device)
        return self.augmented(video), batch.times.to(self.device), labels

    def step(self, batch: ClipBatch, fake_times: Tensor) -> Metrics:
        """One update of critic and generator from one batch; returns what to log, as scalars."""
        metrics = self._update(batch, fake_times)
        self._freeze_critic(False)
        size = len(batch.video) * self.group.size
        self.group.average_((*running_means(self.generator), metrics["sign_real"]))
        self.step_number += 1
        self.images_seen += size
        if self.ada is not None:
            self.ada.update(metrics["sign_real"], size, self.settings.ada_target, self.settings.ada_images)
            metrics["ada_p"] = self.ada.p.clone()
        update_average(self.average, self.generator, size, self.images_seen, self.settings.ema_images)
        return metrics

    def _update(self, batch: ClipBatch, fake_times: Tensor) -> Metrics:
        raise TypeError(f"{type(self).__name__} has no update")

    def _step_critic(self, loss: Tensor, real: Representation, logits: Callable[[Representation], Tensor]) -> Metrics:
        """Descend `loss` plus, every r1_interval steps, R1 on the representation of the real frames.

        The paper's discriminator represents frames by themselves, which makes this the usual R1; on frozen features it
        keeps the heads smooth at the price of the heads alone.
        """
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        metrics = {}
        if self.settings.r1_gamma and self.step_number % self.settings.r1_interval == 0:
            leaves = [item.detach().requires_grad_() for item in real]
            penalty = r1_penalty(logits(leaves), leaves)
            (penalty * (self.settings.r1_gamma / 2 * self.settings.r1_interval)).backward()
            metrics["r1"] = penalty.detach()
        self.group.average_gradients(self.critic_parameters)
        self.critic_optimiser.step()
        return metrics

    def _freeze_critic(self, frozen: bool) -> None:
        for parameter in self.critic_parameters:
            parameter.requires_grad_(not frozen)

    def _step_generator(self, loss: Tensor) -> None:
        """Descend `loss`, with the critic frozen since its own step."""
        self.generator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.group.average_gradients(self.generator.parameters())
        self.generator_optimiser.step()


class Pretrain(Stage):
    """Stage 1: the canonical generator as an image GAN on single frames."""

    name = "pretrain"

    def _update(self, batch: ClipBatch, fake_times: Tensor) -> Metrics:
        critic, kind = self.critic, self.critic.loss
        real, _, labels = self.real(batch)
        with autocast(self.config, self.device):
            image = self.generator.images(self.latents(len(real)), labels)
            fake = critic.represent(self.augmented(image[:, None]))
            with torch.no_grad():
                real_frames = critic.represent(real)
            real_logits = critic.image_logits(real_frames, labels)
            fake_logits = critic.image_logits(_detached(fake), labels)
            loss_d = discriminator_loss(real_logits, fake_logits, kind)
        metrics = self._step_critic(loss_d, real_frames, lambda frames: critic.image_logits(frames, labels))
        self._freeze_critic(True)
        with autocast(self.config, self.device):
            loss_g = generator_loss(critic.image_logits(fake, labels), kind)
        self._step_generator(loss_g)
        return {
            **metrics,
            "loss_d": loss_d.detach(),
            "loss_g": loss_g.detach(),
            "logit_real": real_logits.detach().mean(),
            "logit_fake": fake_logits.detach().mean(),
            "sign_real": real_logits.detach().sign().mean(),
        }


@dataclass
class GeneratedClips:
    """video (B, T, 3, R, R); of GenDeF also canonical images (B, 3, R, R), fields at the clips' times
    (B, T, R, R, 2) and at three neighbouring times of each clip."""

    video: Tensor
    canonical: Tensor | None = None
    fields: Tensor | None = None
    near: Tensor | None = None


class Finetune(Stage):
    """Stage 2 on clips of three frames: whatever the generator makes of times, against real clips."""

    name = "finetune"
    num_frames = 3

    def __init__(
        self, config: TrainConfig, generator: AnyGenerator, critic: Critic, device: torch.device, group: Group = ALONE
    ) -> None:
        self.finetune: FinetuneConfig = config.finetune
        super().__init__(config, config.finetune, generator, critic, device, group)

    def _motion_noise(self, batch: int, last_time: float) -> Tensor:
        """(B, N, motion_dim) for times in [0, last_time]."""
        rows = self.generator.motion_noise_length(self.group.largest(last_time))
        return self.normal(batch, rows, self.generator.motion_dim)

    def _generate(self, times: Tensor, labels: Tensor | None) -> GeneratedClips:
        raise TypeError(f"{type(self).__name__} generates nothing")

    def _regularisation(self, clips: GeneratedClips, metrics: Metrics) -> Tensor:
        """Losses of the generator beside the critic's, added to `metrics`; a scalar."""
        return clips.video.new_zeros(())

    def _statistics(self, clips: GeneratedClips) -> Metrics:
        """What to log about the clips."""
        return {}

    def _update(self, batch: ClipBatch, fake_times: Tensor) -> Metrics:
        critic, kind, settings = self.critic, self.critic.loss, self.finetune
        real, times, labels = self.real(batch)
        fake_times = fake_times.to(self.device)
        judges_images = settings.image_weight > 0 or settings.canonical_weight > 0
        with autocast(self.config, self.device):
            clips = self._generate(fake_times, labels)
            video = clips.video
            count = video.shape[1]
            shown = video
            if settings.canonical_weight and clips.canonical is not None:
                shown = torch.cat((video, clips.canonical[:, None]), dim=1)
            frames = critic.represent(self.augmented(shown))
            clip, canonical = _split(frames, shown.shape[1], count)
            with torch.no_grad():
                real_frames = critic.represent(real)
            each = None if labels is None else labels.repeat_interleave(count, dim=0)
            real_logits = critic.video_logits(real_frames, times, labels)
            fake_logits = critic.video_logits(_detached(clip), fake_times, labels)
            loss_d = discriminator_loss(real_logits, fake_logits, kind)
            if judges_images:
                real_images = critic.image_logits(real_frames, each)
                fake_images = critic.image_logits(_detached(clip), each)
                loss_d = loss_d + discriminator_loss(real_images, fake_images, kind)

        def judged(frames: Representation) -> Tensor:
            logits = critic.video_logits(frames, times, labels).reshape(len(times), -1).mean(dim=1)
            if judges_images:
                images = critic.image_logits(frames, each).reshape(*times.shape, -1).mean(dim=2)
                logits = logits + images.sum(dim=1)
            return logits

        metrics = self._step_critic(loss_d, real_frames, judged)
        self._freeze_critic(True)
        with autocast(self.config, self.device):
            loss_g = generator_loss(critic.video_logits(clip, fake_times, labels), kind)
            metrics["loss_g_video"] = loss_g.detach()
            if settings.image_weight:
                loss_image = generator_loss(critic.image_logits(clip, each), kind)
                loss_g = loss_g + settings.image_weight * loss_image
                metrics["loss_g_image"] = loss_image.detach()
            if settings.canonical_weight:
                loss_canonical = generator_loss(critic.image_logits(canonical, labels), kind)
                loss_g = loss_g + settings.canonical_weight * loss_canonical
                metrics["loss_g_canonical"] = loss_canonical.detach()
        loss_g = loss_g + self._regularisation(clips, metrics)
        if self.images_seen >= settings.warmup:
            self._step_generator(loss_g)
        if judges_images:
            metrics["logit_real_image"] = real_images.detach().mean()
            metrics["logit_fake_image"] = fake_images.detach().mean()
        return {
            **metrics,
            **self._statistics(clips),
            "loss_d": loss_d.detach(),
            "logit_real": real_logits.detach().mean(),
            "logit_fake": fake_logits.detach().mean(),
            "sign_real": real_logits.detach().sign().mean(),
        }


class FinetuneFields(Finetune):
    """Stage 2 of GenDeF: canonical image and deformation field together."""

    generator: Generator

    def _generator_groups(self) -> list[dict[str, Any]]:
        rate, settings = self.settings.lr_generator, self.finetune
        last = list(self.generator.deformation.last_output.parameters())
        output = {id(p) for p in last}
        motion = [p for p in self.generator.motion_parameters() if id(p) not in output]
        return [
            {"params": list(self.generator.content_parameters()), "lr": rate * settings.canonical_rate},
            {"params": motion, "lr": rate},
            {"params": last, "lr": rate * settings.output_rate},
        ]

    def _generate(self, times: Tensor, labels: Tensor | None) -> GeneratedClips:
        generator, batch = self.generator, len(times)
        noise = self._motion_noise(batch, float(times.max()) + 2)
        z_content, z_motion = self.latents(batch), self.latents(batch)
        if generator.config.shared_latent:
            z_motion = z_content
        content = generator.content(z_content, labels, 1.0, noise, times[:, 0])
        near = times[:, :1] + torch.tensor([1.0, 2.0], device=self.device)
        every = torch.cat((times, near), dim=1) if self.finetune.smoothness or self.finetune.least_speed else times
        fields = generator.deform(content, z_motion, noise, every, labels)
        count = times.shape[1]
        neighbours = torch.cat((fields[:, :1], fields[:, count:]), dim=1)
        video = generator.render(content, fields[:, :count])
        return GeneratedClips(video, content.image, fields[:, :count], neighbours)

    def _statistics(self, clips: GeneratedClips) -> Metrics:
        assert clips.fields is not None and clips.near is not None
        return field_statistics(clips.fields.detach(), clips.near.detach())

    def _regularisation(self, clips: GeneratedClips, metrics: Metrics) -> Tensor:
        assert clips.fields is not None and clips.near is not None
        settings, near, total = self.finetune, clips.near, clips.video.new_zeros(())
        fields = clips.fields.float()
        if settings.smoothness:
            loss = temporal_smoothness(near.float(), clips.video[:, 0])
            total = total + settings.smoothness * loss
            metrics["smoothness"] = loss.detach()
        if settings.spatial_weight:
            loss = spatial_smoothness(fields)
            total = total + settings.spatial_weight * loss
            metrics["bending"] = loss.detach()
        if settings.folding_weight:
            loss = folding_penalty(fields)
            total = total + settings.folding_weight * loss
            metrics["folding"] = loss.detach()
        if settings.least_speed:
            loss = slowness_penalty(near.float(), settings.least_speed, self.group.mean)
            total = total + settings.speed_weight * loss
            metrics["slowness"] = loss.detach()
        return total


class FinetunePainting(Finetune):
    """Stage 2 of a rival that paints every frame, or the only stage of one without pretraining."""

    generator: PaintingGenerator

    def _generator_groups(self) -> list[dict[str, Any]]:
        rate = self.settings.lr_generator
        return [
            {"params": list(self.generator.content_parameters()), "lr": rate * self.finetune.canonical_rate},
            {"params": list(self.generator.motion_parameters()), "lr": rate},
        ]

    def _generate(self, times: Tensor, labels: Tensor | None) -> GeneratedClips:
        if self.generator.begins_at_zero:
            times = times - times[:, :1]
        noise = self._motion_noise(len(times), float(times.max()))
        return GeneratedClips(self.generator(self.latents(len(times)), noise, times, labels=labels))


def _split(frames: Representation, shown: int, count: int) -> tuple[Representation, Representation]:
    """Representations of the first `count` of every `shown` frames, and of the last one."""
    grouped = [item.unflatten(0, (-1, shown)) for item in frames]
    return [item[:, :count].flatten(0, 1) for item in grouped], [item[:, -1] for item in grouped]


def build_stage(
    name: str, config: TrainConfig, generator: AnyGenerator, critic: Critic, device: torch.device, group: Group = ALONE
) -> Stage:
    """The stage called `name`, "pretrain" or "finetune"."""
    if name == Pretrain.name:
        return Pretrain(config, config.pretrain, generator, critic, device, group)
    kind = FinetuneFields if isinstance(generator, Generator) else FinetunePainting
    return kind(config, generator, critic, device, group)
