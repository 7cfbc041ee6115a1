"""The two discriminators behind one face: frames to a representation, a representation to logits.

A training step represents the generated frames once. The critic's own update works on the detached representation,
the generator's on the attached one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gendef.networks.efficientnet_lite0 import load_efficientnet_lite0
from gendef.networks.layers import at_least_float32
from gendef.networks.projected_discriminator import ProjectedDiscriminator
from gendef.networks.stylegan_v_discriminator import Discriminator
from gendef.training.config import TrainConfig
from gendef.training.micro_batch import WHOLE, Parts

Representation = list[Tensor]


@contextmanager
def in_float32(*features: Tensor) -> Iterator[Representation]:
    """Raises what the costly layers gave to float32, for the judgement on it: autocast is off inside."""
    with torch.autocast(features[0].device.type, enabled=False):
        yield [at_least_float32(item) for item in features]


class Critic(nn.Module):
    """What a training step needs of a discriminator."""

    loss: str

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts

    def represent(self, video: Tensor) -> Representation:
        """video (B, T, 3, R, R) -> tensors of leading size B * T, video-major."""
        raise TypeError(f"{type(self).__name__} has no representation")

    def image_logits(self, frames: Representation, labels: Tensor | None) -> Tensor:
        """Logits of every frame for itself."""
        raise TypeError(f"{type(self).__name__} judges no images")

    def video_logits(self, frames: Representation, times: Tensor, labels: Tensor | None) -> Tensor:
        """Logits of clips at times (B, T)."""
        raise TypeError(f"{type(self).__name__} judges no clips")

    def start_video(self) -> None:
        """Prepare for stage 2 from what stage 1 learned."""


class PaperCritic(Critic):
    """StyleGAN-V's discriminator: frames stand for themselves, and its weights serve both stages."""

    loss = "logistic"

    def __init__(self, config: TrainConfig, parts: Parts) -> None:
        super().__init__(parts)
        self.network = Discriminator(config.stylegan_v)

    def represent(self, video: Tensor) -> Representation:
        return [video.flatten(0, 1)]

    def image_logits(self, frames: Representation, labels: Tensor | None) -> Tensor:
        return self._judged(frames[0][:, None], None, labels)

    def video_logits(self, frames: Representation, times: Tensor, labels: Tensor | None) -> Tensor:
        return self._judged(frames[0].unflatten(0, times.shape), times, labels)

    def _judged(self, video: Tensor, times: Tensor | None, labels: Tensor | None) -> Tensor:
        (features,) = self.parts.run(lambda part: (self.network.features(part),), video)
        with in_float32(features) as (whole,):
            return self.network.logits(whole, times, labels)


class ProjectedCritic(Critic):
    """Heads on frozen features."""

    loss = "hinge"

    def __init__(self, config: TrainConfig, parts: Parts) -> None:
        super().__init__(parts)
        self.network = ProjectedDiscriminator(config.projected, load_efficientnet_lite0())

    def represent(self, video: Tensor) -> Representation:
        return list(self.parts.run(lambda part: tuple(self.network.extract(part.flatten(0, 1))), video))

    def image_logits(self, frames: Representation, labels: Tensor | None) -> Tensor:
        with in_float32(*frames) as whole:
            return self.network.image_logits(whole, labels)

    def video_logits(self, frames: Representation, times: Tensor, labels: Tensor | None) -> Tensor:
        with in_float32(*frames) as whole:
            return self.network.video_logits(whole, times, labels)

    def start_video(self) -> None:
        self.network.start_video_heads()


def build_critic(config: TrainConfig, parts: Parts = WHOLE) -> Critic:
    """The critic that `config.discriminator` names; what is costly in it is computed in `parts`.

    Raises:
        MissingDependencyError: the frozen features' weights are not installed.
    """
    return ProjectedCritic(config, parts) if config.discriminator == "projected" else PaperCritic(config, parts)
