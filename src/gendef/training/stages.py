"""One step of each stage: pretraining on single frames, finetuning on clips (GenDeF section 3.4)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gendef.data.clips import ClipBatch
from gendef.geometry.regularization import (
    field_statistics,
    folding_penalty,
    slowness_penalty,
    spatial_smoothness,
    temporal_smoothness,
)
from gendef.networks.baselines import AnyGenerator, BaselineGenerator
from gendef.networks.generator import Generator
from gendef.runtime.devices import sent
from gendef.training.base_stage import Metrics, Outputs, Stage
from gendef.training.config import FinetuneConfig, TrainConfig
from gendef.training.discriminators import FrameFeatures, TwoStageDiscriminator
from gendef.training.distributed import SINGLE_PROCESS, Group
from gendef.training.losses import (
    discriminator_loss,
    generator_loss,
)


def _detached(frames: FrameFeatures) -> FrameFeatures:
    return [item.detach() for item in frames]


class Pretrain(Stage):
    """Stage 1: the canonical generator as an image GAN on single frames."""

    name = "pretrain"

    def _update(self, batch: ClipBatch, fake_times: Tensor) -> Metrics:
        discriminator, kind = self.discriminator, self.discriminator.loss
        real, _, labels = self.real(batch)
        latents = self.latents(len(real))
        (image,) = self.generated(lambda z, labels: (self.generator.images(z, labels),), latents, labels)
        shown = self.augmented(image[:, None])
        with self.discriminator_autocast():
            fake = discriminator.frame_features(shown)
            with torch.no_grad():
                real_frames = discriminator.frame_features(real)
            real_logits = discriminator.image_logits(real_frames, labels)
            fake_logits = discriminator.image_logits(_detached(fake), labels)
            loss_d = discriminator_loss(real_logits, fake_logits, kind)

        def logits_of(frames: FrameFeatures, part: slice) -> Tensor:
            return discriminator.image_logits(frames, None if labels is None else labels[part])

        metrics = self._update_discriminator(loss_d, real_frames, len(real), logits_of)
        self._freeze_discriminator(True)
        with self.discriminator_autocast():
            loss_g = generator_loss(discriminator.image_logits(fake, labels), kind)
        self._update_generator(loss_g)
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
    """Generated clips.

    Attributes:
        video: (B, T, 3, R, R) in [-1, 1].
        canonical: canonical images (B, 3, R, R), of GenDeF only.
        fields: deformation fields (B, T, R, R, 2) at the clips' times, of GenDeF only.
        near: fields (B, 3, R, R, 2) at three consecutive times from the clips' first, for the smoothness loss.
    """

    video: Tensor
    canonical: Tensor | None = None
    fields: Tensor | None = None
    near: Tensor | None = None


class Finetune(Stage):
    """Stage 2: the video GAN on clips of three frames. Subclasses say how the generator makes clips."""

    name = "finetune"
    num_frames = 3

    @property
    def finetune(self) -> FinetuneConfig:
        """Settings of this stage."""
        return self.config.finetune

    def _motion_noise(self, batch: int, last_time: float) -> Tensor:
        """(B, N, motion_dim) for times in [0, last_time]."""
        rows = self.generator.motion_noise_length(self.group.largest(last_time))
        return self.normal(batch, rows, self.generator.motion_dim)

    def _generate(self, times: Tensor, labels: Tensor | None) -> GeneratedClips:
        """Generated clips at `times` (B, T), a CPU tensor."""
        raise TypeError(f"{type(self).__name__} has no _generate")

    def _regularisation(self, clips: GeneratedClips, metrics: Metrics) -> Tensor:
        """Sum of the weighted regularisation losses, a scalar; each loss is also added to `metrics`."""
        return clips.video.new_zeros(())

    def _statistics(self, clips: GeneratedClips) -> Metrics:
        """Statistics of the clips to log."""
        return {}

    def _update(self, batch: ClipBatch, fake_times: Tensor) -> Metrics:
        discriminator, kind, settings = self.discriminator, self.discriminator.loss, self.finetune
        real, times, labels = self.real(batch)
        uses_image_logits = settings.image_weight > 0 or settings.canonical_weight > 0
        clips = self._generate(fake_times, labels)
        fake_times = sent(fake_times, self.device)
        count, shown = clips.video.shape[1], clips.video
        if settings.canonical_weight and clips.canonical is not None:
            shown = torch.cat((shown, clips.canonical[:, None]), dim=1)
        shown = self.augmented(shown)
        with self.discriminator_autocast():
            frames = discriminator.frame_features(shown)
            clip, canonical = _split(frames, shown.shape[1], count)
            with torch.no_grad():
                real_frames = discriminator.frame_features(real)
            each = None if labels is None else labels.repeat_interleave(count, dim=0)
            real_logits = discriminator.video_logits(real_frames, times, labels)
            fake_logits = discriminator.video_logits(_detached(clip), fake_times, labels)
            loss_d = discriminator_loss(real_logits, fake_logits, kind)
            if uses_image_logits:
                real_images = discriminator.image_logits(real_frames, each)
                fake_images = discriminator.image_logits(_detached(clip), each)
                loss_d = loss_d + discriminator_loss(real_images, fake_images, kind)

        def logits_of(frames: FrameFeatures, part: slice) -> Tensor:
            own_times, own = times[part], None if labels is None else labels[part]
            logits = discriminator.video_logits(frames, own_times, own).reshape(len(own_times), -1).mean(dim=1)
            if uses_image_logits:
                of_each = None if own is None else own.repeat_interleave(count, dim=0)
                images = discriminator.image_logits(frames, of_each).reshape(*own_times.shape, -1).mean(dim=2)
                logits = logits + images.sum(dim=1)
            return logits

        metrics = self._update_discriminator(loss_d, real_frames, len(real), logits_of)
        self._freeze_discriminator(True)
        with self.discriminator_autocast():
            loss_g = generator_loss(discriminator.video_logits(clip, fake_times, labels), kind)
            metrics["loss_g_video"] = loss_g.detach()
            if settings.image_weight:
                loss_image = generator_loss(discriminator.image_logits(clip, each), kind)
                loss_g = loss_g + settings.image_weight * loss_image
                metrics["loss_g_image"] = loss_image.detach()
            if settings.canonical_weight:
                loss_canonical = generator_loss(discriminator.image_logits(canonical, labels), kind)
                loss_g = loss_g + settings.canonical_weight * loss_canonical
                metrics["loss_g_canonical"] = loss_canonical.detach()
        loss_g = loss_g + self._regularisation(clips, metrics)
        if self.images_seen >= settings.warmup:
            self._update_generator(loss_g)
        if uses_image_logits:
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
    """Stage 2 of GenDeF (section 3.4): adversarial loss plus the smoothness loss (equation 4) and optional losses."""

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
        near = times[:, :1] + torch.tensor([1.0, 2.0])
        every = torch.cat((times, near), dim=1) if self.finetune.smoothness or self.finetune.least_speed else times
        count = times.shape[1]

        def clips(z_content: Tensor, z_motion: Tensor, noise: Tensor, every: Tensor, labels: Tensor | None) -> Outputs:
            content = generator.content(z_content, labels, 1.0, noise, every[:, 0])
            fields = generator.deform(content, z_motion, noise, every, labels)
            return generator.render(content, fields[:, :count]), content.image, fields

        video, image, fields = self.generated(clips, z_content, z_motion, noise, every, labels)
        neighbours = torch.cat((fields[:, :1], fields[:, count:]), dim=1)
        return GeneratedClips(video, image, fields[:, :count], neighbours)

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


class FinetuneBaseline(Finetune):
    """Stage 2 of a baseline that outputs frames directly, and the only stage of a baseline without pretraining."""

    generator: BaselineGenerator

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

        def clips(z: Tensor, noise: Tensor, times: Tensor, labels: Tensor | None) -> Outputs:
            return (self.generator(z, noise, times, labels=labels),)

        return GeneratedClips(*self.generated(clips, self.latents(len(times)), noise, times, labels))


def _split(frames: FrameFeatures, shown: int, count: int) -> tuple[FrameFeatures, FrameFeatures]:
    """Features of the first `count` frames of each clip of `shown` frames, and features of its last frame."""
    grouped = [item.unflatten(0, (-1, shown)) for item in frames]
    return [item[:, :count].flatten(0, 1) for item in grouped], [item[:, -1] for item in grouped]


def build_stage(
    name: str,
    config: TrainConfig,
    generator: AnyGenerator,
    discriminator: TwoStageDiscriminator,
    device: torch.device,
    group: Group = SINGLE_PROCESS,
) -> Stage:
    """The stage called `name`, "pretrain" or "finetune"."""
    if name == Pretrain.name:
        return Pretrain(config, config.pretrain, generator, discriminator, device, group)
    kind = FinetuneFields if isinstance(generator, Generator) else FinetuneBaseline
    return kind(config, config.finetune, generator, discriminator, device, group)
