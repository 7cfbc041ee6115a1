"""The two discriminators behind one interface: frames to features, features to logits of images and of clips.

A training step computes the features of the generated frames once. The discriminator's update uses them detached, the
generator's update uses them with their gradient.
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
from gendef.training.micro_batch import FULL_BATCH, MicroBatches

FrameFeatures = list[Tensor]


@contextmanager
def in_float32(*features: Tensor) -> Iterator[FrameFeatures]:
    """`features` in float32, with autocast off inside the block: the layers after them need the precision."""
    with torch.autocast(features[0].device.type, enabled=False):
        yield [at_least_float32(item) for item in features]


class TwoStageDiscriminator(nn.Module):
    """A discriminator of images (stage 1) and of clips (stage 2), as a training step uses it."""

    loss: str

    def __init__(self, micro_batches: MicroBatches) -> None:
        super().__init__()
        self.micro_batches = micro_batches

    def frame_features(self, video: Tensor) -> FrameFeatures:
        """Features of video (B, T, 3, R, R): tensors of leading size B * T, clip by clip."""
        raise TypeError(f"{type(self).__name__} has no frame features")

    def image_logits(self, frames: FrameFeatures, labels: Tensor | None) -> Tensor:
        """Logits of single frames, from features of leading size N: (N, ...)."""
        raise TypeError(f"{type(self).__name__} has no image logits")

    def video_logits(self, frames: FrameFeatures, times: Tensor, labels: Tensor | None) -> Tensor:
        """Logits of clips at times (B, T)."""
        raise TypeError(f"{type(self).__name__} has no video logits")

    def start_video(self) -> None:
        """Initialise the clip heads of stage 2 from the image heads of stage 1."""


class StyleGANVDiscriminator(TwoStageDiscriminator):
    """StyleGAN-V's discriminator. The frames are their own features, and both stages use the same weights."""

    loss = "logistic"

    def __init__(self, config: TrainConfig, micro_batches: MicroBatches) -> None:
        super().__init__(micro_batches)
        self.network = Discriminator(config.stylegan_v)

    def frame_features(self, video: Tensor) -> FrameFeatures:
        return [video.flatten(0, 1)]

    def image_logits(self, frames: FrameFeatures, labels: Tensor | None) -> Tensor:
        return self._logits(frames[0][:, None], None, labels)

    def video_logits(self, frames: FrameFeatures, times: Tensor, labels: Tensor | None) -> Tensor:
        return self._logits(frames[0].unflatten(0, times.shape), times, labels)

    def _logits(self, video: Tensor, times: Tensor | None, labels: Tensor | None) -> Tensor:
        (features,) = self.micro_batches.run(lambda part: (self.network.features(part),), video)
        with in_float32(features) as (whole,):
            return self.network.logits(whole, times, labels)


class ProjectedFeatureDiscriminator(TwoStageDiscriminator):
    """Trained heads on frozen EfficientNet-Lite0 features (projected GAN, Sauer et al. 2021)."""

    loss = "hinge"

    def __init__(self, config: TrainConfig, micro_batches: MicroBatches) -> None:
        super().__init__(micro_batches)
        self.network = ProjectedDiscriminator(config.projected, load_efficientnet_lite0())

    def frame_features(self, video: Tensor) -> FrameFeatures:
        return list(self.micro_batches.run(lambda part: tuple(self.network.extract(part.flatten(0, 1))), video))

    def image_logits(self, frames: FrameFeatures, labels: Tensor | None) -> Tensor:
        with in_float32(*frames) as whole:
            return self.network.image_logits(whole, labels)

    def video_logits(self, frames: FrameFeatures, times: Tensor, labels: Tensor | None) -> Tensor:
        with in_float32(*frames) as whole:
            return self.network.video_logits(whole, times, labels)

    def start_video(self) -> None:
        self.network.start_video_heads()


def build_discriminator(config: TrainConfig, micro_batches: MicroBatches = FULL_BATCH) -> TwoStageDiscriminator:
    """The discriminator that `config.discriminator` names; its convolutions run in `micro_batches`.

    Raises:
        MissingDependencyError: the package with the weights of the frozen features is not installed.
    """
    kind = ProjectedFeatureDiscriminator if config.discriminator == "projected" else StyleGANVDiscriminator
    return kind(config, micro_batches)
