"""Settings of the two stages of a latent model: the autoencoder, then the prior of its latents."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from gendef.errors import ConfigError
from gendef.networks.autoencoder import FACTOR, AutoencoderConfig
from gendef.networks.latent_prior import LatentPriorConfig
from gendef.runtime.config import build_config


@dataclass(frozen=True)
class LatentStageConfig:
    """What both stages have. Raises ConfigError for an impossible value."""

    images: int = 100_000
    """Images to train on; may be changed when a run is continued."""
    batch_size: int = 16
    """Images a step."""
    learning_rate: float = 6e-4
    """Step size of AdamW."""
    decay_share: float = 0.3
    """Last share of the images in which the step size falls linearly to a twentieth."""
    warmup: int = 500
    """Images in which the step size rises from 0."""
    ema_images: float = 2000.0
    """Half-life, in images, of the averaged network that is kept."""

    def __post_init__(self) -> None:
        for name in ("images", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "warmup", "ema_images"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.decay_share <= 1:
            raise ConfigError(f"decay_share must be between 0 and 1, got {self.decay_share}")

    def rate(self, images_seen: int) -> float:
        """Step size after so many images: warm-up, constant, linear decay."""
        rising = min(1.0, (images_seen + self.batch_size) / max(self.warmup, 1))
        left = (self.images - images_seen) / max(self.decay_share * self.images, 1e-9)
        return self.learning_rate * rising * min(1.0, max(left, 0.05))


@dataclass(frozen=True)
class AutoencoderStageConfig(LatentStageConfig):
    """Stage 1: reconstruction of crops."""

    batch_size: int = 8
    """Crops a step."""
    crop: int = 128
    """Side of the crops in pixels; a multiple of 8."""
    latent_noise: float = 0.05
    """Spread of the noise on the latents: the decoder learns to bear the errors of a prior."""
    coarse_weight: float = 2.0
    """Weight of the absolute error of 4x4 means beside that of pixels."""
    colour_weight: float = 40.0
    """Weight of the squared error of 8x8 means: absolute errors alone leave rare colours out for tens of thousands of
    crops (docs/models.md)."""
    lpips_weight: float = 0.5
    """Weight of LPIPS (its weights come from the folder GENDEF_WEIGHTS); 0 for none."""
    lpips_share: float = 0.5
    """Share of a batch on which LPIPS is computed: it costs as much as the networks."""
    freeze_encoder: bool = False
    """Only the decoder learns, from the averaged encoder: priors of its latents stay valid."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop < FACTOR or self.crop % FACTOR:
            raise ConfigError(f"crop must be a multiple of {FACTOR}, got {self.crop}")
        for name in ("latent_noise", "coarse_weight", "colour_weight", "lpips_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.lpips_share <= 1:
            raise ConfigError(f"lpips_share must be above 0 and at most 1, got {self.lpips_share}")


@dataclass(frozen=True)
class PriorStageConfig(LatentStageConfig):
    """Stage 2: flow matching on the latents of all frames."""

    batch_size: int = 32
    """Images a step."""


@dataclass(frozen=True)
class LatentTrainConfig:
    """A whole training run of a latent model."""

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    prior: LatentPriorConfig = field(default_factory=LatentPriorConfig)
    autoencoder_stage: AutoencoderStageConfig = field(default_factory=AutoencoderStageConfig)
    prior_stage: PriorStageConfig = field(default_factory=PriorStageConfig)
    mirror: bool = True
    """Half of the images are flipped left to right."""
    seed: int = 0
    """Seed of everything random."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of feature maps; auto: bfloat16 on CUDA GPUs and on CPUs with AMX, float32 elsewhere."""

    def __post_init__(self) -> None:
        if self.autoencoder.latent_channels != self.prior.channels:
            raise ConfigError(
                f"prior.channels is {self.prior.channels}, autoencoder.latent_channels"
                f" {self.autoencoder.latent_channels}: make them equal"
            )
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"precision must be auto, float32 or bfloat16, got {self.precision!r}")

    @property
    def resolution(self) -> int:
        """Side of the images that the prior makes, in pixels."""
        return self.prior.size * FACTOR

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LatentTrainConfig":
        """The inverse of `to_dict`; fields that are left out keep their defaults.

        Raises:
            ConfigError: an unknown field, a wrong type or an impossible value.
        """
        parts = {
            "autoencoder": AutoencoderConfig,
            "prior": LatentPriorConfig,
            "autoencoder_stage": AutoencoderStageConfig,
            "prior_stage": PriorStageConfig,
        }
        built = dict(values)
        for name, part in parts.items():
            if name in built:
                built[name] = build_config(part, built[name], name)
        return build_config(cls, built, "training")  # type: ignore[no-any-return]
