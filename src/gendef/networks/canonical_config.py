"""Configuration of the canonical image generator, and the layer plan of StyleGAN3 that follows from it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gendef.errors import ConfigError
from gendef.runtime.config import Count, Positive, PositiveFloat, check_config


@dataclass(frozen=True)
class CanonicalConfig:
    """The canonical image generator."""

    kind: Literal["stylegan3", "stylegan2"] = "stylegan3"
    """StyleGAN3 configuration T (the paper's) or StyleGAN2, many times cheaper on a CPU."""
    channel_base: Positive = 32768
    """Channels of a layer are about channel_base / resolution ..."""
    channel_max: Positive = 512
    """... but at most this."""
    feature_layer: Count | None = None
    """Index of the layer whose output is the canonical feature f_c; none: the last before the output layer."""
    mtm_sizes: tuple[Positive, ...] = ()
    """Layers of these output sizes are modulated transformation modules."""
    num_layers: Positive = 14
    """StyleGAN3: layers before the output layer."""
    num_critical: Count = 2
    """StyleGAN3: critically sampled layers at the end."""
    margin: Count = 10
    """StyleGAN3: pixels around the image in all but the last layers."""
    output_scale: PositiveFloat = 0.25
    """Factor on the output, so that first images stay within their range."""
    conv_clamp: PositiveFloat | None = 256.0
    """Bound on the absolute value of activations."""

    def __post_init__(self) -> None:
        check_config(self, "canonical")
        if self.num_critical >= self.num_layers:
            raise ConfigError(f"canonical.num_critical must be in [0, {self.num_layers}), got {self.num_critical}")


@dataclass(frozen=True)
class LayerPlan:
    """Size, width and frequencies of one StyleGAN3 layer's output (Karras et al. 2021, section 3.2)."""

    size: int
    channels: int
    sampling_rate: float
    cutoff: float
    half_width: float


def plan_layers(resolution: int, config: CanonicalConfig) -> list[LayerPlan]:
    """Plans of all layers and, last, the output layer, for images of `resolution` x `resolution`."""
    first_cutoff, first_stopband = 2.0, 2.0**2.1
    last_cutoff = resolution / 2
    last_stopband = last_cutoff * 2.0**0.3
    steps = np.arange(config.num_layers + 1) / (config.num_layers - config.num_critical)
    steps = np.minimum(steps, 1.0)
    cutoffs = first_cutoff * (last_cutoff / first_cutoff) ** steps
    stopbands = first_stopband * (last_stopband / first_stopband) ** steps
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, resolution))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + 2 * config.margin
    sizes[-2:] = resolution
    channels = np.rint(np.minimum(config.channel_base / 2 / cutoffs, config.channel_max))
    channels[-1] = 3
    return [
        LayerPlan(int(size), int(width), float(rate), float(cutoff), float(half))
        for size, width, rate, cutoff, half in zip(sizes, channels, rates, cutoffs, half_widths, strict=True)
    ]
