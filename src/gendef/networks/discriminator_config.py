"""Configuration of the discriminators. It imports without torch, so that `gendef train --help` is quick."""

from dataclasses import dataclass
from typing import Annotated

from gendef.runtime.config import Count, Positive, PositiveFloat, Range, check_config


@dataclass(frozen=True)
class DiscriminatorConfig:
    """StyleGAN-V's discriminator with temporal shift."""

    resolution: Annotated[int, Range(least=8, power_of_two=True)] = 256
    """Side of the frames, a power of two from 8."""
    channel_base: Positive = 32768
    """Channels at a resolution are channel_base / resolution ..."""
    channel_max: Positive = 512
    """... but at most this."""
    num_frames: Positive = 3
    """Frames of a clip; its time differences condition the network."""
    max_num_frames: Positive = 1024
    """Longest time difference with an embedding of its own."""
    concat_resolution: Positive = 16
    """Features of the frames are averaged on entering this resolution, and shifted in time above it."""
    time_dim: Positive = 256
    """Width of the learned embedding of one time difference."""
    mapping_layers: Positive = 2
    """Layers of the network that maps time differences (and labels) to the projection vector."""
    minibatch_std_group: Positive = 4
    """Clips that share one minibatch standard deviation."""
    conv_clamp: PositiveFloat | None = 256.0
    """Bound on the absolute value of activations."""
    num_classes: Count = 0
    """Classes of the labels, 0 for none."""

    def __post_init__(self) -> None:
        check_config(self, "stylegan_v")


@dataclass(frozen=True)
class ProjectedConfig:
    """The discriminator on frozen EfficientNet-Lite0 features."""

    feature_size: Annotated[int, Range(least=64, multiple_of=32)] = 96
    """Frames are resized to this side before the feature network."""
    mixed_channels: Positive = 64
    """Channels of every scale after mixing."""
    head_channels: Positive = 64
    """Channels inside the heads."""
    num_frames: Positive = 3
    """Frames of a clip."""
    num_classes: Count = 0
    """Classes of the labels, 0 for none."""
    mixing_seed: Count = 0
    """Seed of the fixed random mixing."""

    def __post_init__(self) -> None:
        check_config(self, "projected")
