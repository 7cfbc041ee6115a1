"""The four stages of an inversion: content, motion, both together, and the tuning of the generator.

The tuning is pivotal tuning (Roich et al., arXiv 2106.05744, section 3): the latents are fixed, the weights are
optimised, and the outputs for random neighbours of the latents are kept.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from gendef.geometry.regularization import folding_penalty, spatial_smoothness, temporal_smoothness
from gendef.inversion.latents import Latents, generate_content, generate_fields, random_w
from gendef.inversion.objective import Objective
from gendef.metrics.image_quality import psnr
from gendef.model.sampling import normal_rows, random_numbers
from gendef.networks.generator import Content, Generator

FEATURE_FRAMES = 2
"""Frames of a step that are compared by network features too; those cost most of the time."""
SMOOTHNESS, BENDING, FOLDING = 1.0, 0.02, 1.0
"""Weights of the losses on fields: the paper's for temporal smoothness, those of the built-in models' training else."""
FIELD_WEIGHT, CANONICAL_WEIGHT = 0.05, 0.5
"""Weights of the distance to the plain fit's fields, in pixels, and (when tuning) to its canonical image."""
TYPICAL_WEIGHT = 0.01
"""Weight of the latents' atypicality."""
LOCALITY_WEIGHT, LOCALITY_EVERY = 1.0, 2
"""Weight of the locality regularisation (PTI, equation 5), and the number of steps from one use to the next."""


class Stage(ABC):
    """One stage.

    Args:
        objective: shared by all stages.
        tuned: the copy of the generator that the last stage tunes.

    Attributes:
        name: in progress reports, and in the seeds of its random choices.
        steps: number of steps by quality.
        budget_share: share of a budget's seconds, after the plain fit.
        rate: largest learning rate.
    """

    name: ClassVar[str]
    steps: ClassVar[dict[str, int]]
    budget_share: ClassVar[float]
    rate: ClassVar[float]

    def __init__(self, objective: Objective, tuned: Generator) -> None:
        self.objective, self.tuned = objective, tuned

    def prepare(self, latents: Latents, resumed: bool) -> Latents:
        """The latents with which the stage begins.

        Args:
            resumed: whether the stage continues after an interruption.
        """
        return latents

    @abstractmethod
    def variables(self, latents: Latents) -> list[Tensor]:
        """The tensors that the stage optimises."""

    @abstractmethod
    def loss(self, latents: Latents, step: int) -> tuple[Tensor, float]:
        """The loss of a step, and the PSNR of its frames in dB (NaN if none are rendered)."""

    def _numbers(self, step: int) -> torch.Generator:
        """Random numbers of a step."""
        return random_numbers(f"inversion-step-{self.name}-{step}", self.objective.seed)

    def _rendered(self, generator: Generator, latents: Latents, some: Tensor) -> tuple[Content, Tensor, Tensor]:
        """Canonical image, fields and frames `some`."""
        content = generate_content(generator, latents.content)
        fields = generate_fields(generator, content, latents, self.objective.times[some])
        return content, fields, generator.render(content, fields[None])[0]

    def _frame_loss(self, fields: Tensor, shown: Tensor, some: Tensor) -> Tensor:
        """Distance of frames and fields to the target's."""
        loss = self.objective.distance.of_batch(shown, self.objective.frames[some], FEATURE_FRAMES)
        return loss + FIELD_WEIGHT * self.objective.field_distance(fields, some)

    def _field_loss(self, loss: Tensor, fields: Tensor, shown: Tensor) -> Tensor:
        """The loss plus the regularisation of fields; the last three frames are consecutive."""
        loss = loss + BENDING * spatial_smoothness(fields[None]) + FOLDING * folding_penalty(fields)
        if len(self.objective.frames) >= 3:
            loss = loss + SMOOTHNESS * temporal_smoothness(fields[-3:][None], shown[-3:-2].detach())
        return loss

    def _psnr(self, shown: Tensor, some: Tensor) -> float:
        return float(psnr(shown.detach(), self.objective.frames[some]).mean())


class ContentStage(Stage):
    """Optimises the content latent until its canonical image matches that of the fit without the model."""

    name, budget_share, rate = "content", 0.08, 0.05
    steps: ClassVar[dict[str, int]] = {"fast": 100, "default": 200, "best": 400}

    def variables(self, latents: Latents) -> list[Tensor]:
        return [latents.content]

    def loss(self, latents: Latents, step: int) -> tuple[Tensor, float]:
        image = generate_content(self.objective.original, latents.content).image
        loss = self.objective.to_canonical(image).mean() + TYPICAL_WEIGHT * self.objective.atypicality(latents)
        return loss, float(psnr(image.detach(), self.objective.canonical))


class MotionStage(Stage):
    """Optimises the motion latent and the motion noise until the fields match those of that fit."""

    name, budget_share, rate = "motion", 0.08, 0.03
    steps: ClassVar[dict[str, int]] = {"fast": 100, "default": 200, "best": 400}

    def prepare(self, latents: Latents, resumed: bool) -> Latents:
        """A motion depends on its content, so the nearest random one is searched again for the content found."""
        return latents if resumed else self.objective.with_nearest_motion(latents.content.detach())

    def variables(self, latents: Latents) -> list[Tensor]:
        return [latents.motion, latents.noise]

    def loss(self, latents: Latents, step: int) -> tuple[Tensor, float]:
        some = self.objective.some_frames(self._numbers(step))
        with torch.no_grad():
            content = generate_content(self.objective.original, latents.content)
        fields = generate_fields(self.objective.original, content, latents, self.objective.times[some])
        loss = self.objective.field_distance(fields, some) + TYPICAL_WEIGHT * self.objective.atypicality(latents)
        return loss, float("nan")


class JointStage(Stage):
    """Optimises all latents until the frames match the target's."""

    name, budget_share, rate = "together", 0.14, 0.01
    steps: ClassVar[dict[str, int]] = {"fast": 60, "default": 120, "best": 300}

    def variables(self, latents: Latents) -> list[Tensor]:
        return [latents.content, latents.motion, latents.noise]

    def loss(self, latents: Latents, step: int) -> tuple[Tensor, float]:
        some = self.objective.some_frames(self._numbers(step))
        _, fields, shown = self._rendered(self.objective.original, latents, some)
        loss = self._frame_loss(fields, shown, some) + TYPICAL_WEIGHT * self.objective.atypicality(latents)
        return self._field_loss(loss, fields, shown), self._psnr(shown, some)


class TuningStage(Stage):
    """Tunes the generator's weights; the latents are fixed."""

    name, budget_share, rate = "tuning", 0.7, 0.003
    steps: ClassVar[dict[str, int]] = {"fast": 150, "default": 400, "best": 1500}

    def prepare(self, latents: Latents, resumed: bool) -> Latents:
        self.pivot = latents.clone()
        return latents

    def variables(self, latents: Latents) -> list[Tensor]:
        parts: list[nn.Module] = [self.tuned.canonical, self.tuned.deformation, self.tuned.motion_encoder]
        return [value for part in parts for value in part.parameters()]

    def loss(self, latents: Latents, step: int) -> tuple[Tensor, float]:
        numbers = self._numbers(step)
        some = self.objective.some_frames(numbers)
        content, fields, shown = self._rendered(self.tuned, latents, some)
        loss = self._frame_loss(fields, shown, some)
        loss = loss + CANONICAL_WEIGHT * (content.image - self.objective.canonical).abs().mean()
        if step % LOCALITY_EVERY == 0:
            loss = loss + LOCALITY_WEIGHT * self._locality(numbers)
        return self._field_loss(loss, fields, shown), self._psnr(shown, some)

    def _locality(self, numbers: torch.Generator) -> Tensor:
        """Difference between tuned and original generator for a neighbour of the clip's latents (PTI, equation 5)."""
        pivot, original = self.pivot, self.objective.original
        last_time = self.objective.times[-1]
        seed = int(torch.randint(2**31, (1,), generator=numbers))
        share = float(torch.rand((1,), generator=numbers))
        content_w = pivot.content.lerp(random_w(original, 1, seed), share)
        motion_w = pivot.motion.lerp(random_w(original, 1, seed, "motion"), share)
        noise = normal_rows(pivot.noise.shape[1], original.motion_dim, numbers)[None].to(self.objective.device)
        times = torch.rand((1,), generator=numbers) * last_time + torch.arange(3)
        times = times[times <= last_time] if len(self.objective.times) > 3 else self.objective.times
        latents = Latents(pivot.content, motion_w, noise)
        with torch.no_grad():
            image = generate_content(original, content_w).image
            wanted = generate_fields(original, generate_content(original, pivot.content), latents, times)
        image_change = (generate_content(self.tuned, content_w).image - image).abs().mean() * share
        fields = generate_fields(self.tuned, generate_content(self.tuned, pivot.content), latents, times)
        field_change = (fields - wanted).norm(dim=-1).mean() * (fields.shape[1] / 2)
        return image_change + 0.1 * field_change


STAGES: tuple[type[Stage], ...] = (ContentStage, MotionStage, JointStage, TuningStage)
"""In order of execution."""
