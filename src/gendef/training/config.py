"""Training configuration. Field docstrings are the command line's help."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from gendef.errors import ConfigError
from gendef.networks.generator import GeneratorConfig
from gendef.networks.projected_discriminator import ProjectedConfig
from gendef.networks.stylegan_v_discriminator import DiscriminatorConfig
from gendef.runtime.config import build_config


@dataclass(frozen=True)
class StageConfig:
    """One training stage."""

    images: int = 25_000_000
    """Length: real images (stage 1) or clips (stage 2) shown to the discriminator."""
    batch_size: int = 64
    """Images or clips a step."""
    lr_generator: float = 0.0025
    """Adam step size of the generator."""
    lr_discriminator: float = 0.002
    """Adam step size of the discriminator."""
    beta1: float = 0.0
    """Adam's first decay."""
    beta2: float = 0.99
    """Adam's second decay."""
    r1_gamma: float = 0.5
    """Weight of the R1 gradient penalty; 0 for none (frozen features need none)."""
    r1_interval: int = 16
    """Steps between two R1 penalties (lazy regularisation)."""
    augment: Literal["none", "ada", "diffaug"] = "ada"
    """Augmentation of what the discriminator sees, the same for all frames of a clip."""
    ada_target: float = 0.6
    """ADA raises its strength while the mean sign of real logits is above this."""
    ada_images: int = 500_000
    """Images in which ADA's strength can go from 0 to 1."""
    ema_images: float = 20_000
    """Half-life, in images, of the averaged generator that is kept."""

    def __post_init__(self) -> None:
        for name in ("images", "batch_size", "r1_interval", "ada_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr_generator", "lr_discriminator", "r1_gamma", "ema_images"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.augment not in ("none", "ada", "diffaug"):
            raise ConfigError(f"augment must be none, ada or diffaug, got {self.augment!r}")


@dataclass(frozen=True)
class FinetuneConfig(StageConfig):
    """Stage 2: canonical image and deformation field together, on clips."""

    r1_gamma: float = 8.0
    """Weight of the R1 gradient penalty (paper: 8)."""
    canonical_rate: float = 1.0
    """Factor on lr_generator for G_c; 0 freezes it (an ablation of the paper)."""
    output_rate: float = 1.0
    """Factor on lr_generator for the last output layer of G_d, whose step decides how fast fields grow."""
    warmup: int = 0
    """Clips at the start in which only the discriminator learns, while every video stands still."""
    image_weight: float = 0.0
    """Weight of the image discriminator on every warped frame (projected discriminator)."""
    canonical_weight: float = 0.0
    """Weight of the image discriminator on the canonical image itself (projected discriminator)."""
    smoothness: float = 1.0
    """lambda_reg of the paper: weight of the structural temporal smoothness loss."""
    spatial_weight: float = 0.0
    """Weight of the bending of fields in space, in squared pixels."""
    folding_weight: float = 0.0
    """Weight of the folding penalty."""
    least_speed: float = 0.0
    """Mean speed, in pixels a frame, below which generated motion is pushed; 0 for no push. Set it a little under the
    data's own optical flow where a short training lets motion die."""
    speed_weight: float = 5.0
    """Weight of that push."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("least_speed", "speed_weight", "smoothness", "spatial_weight", "folding_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")


FIELD_WEIGHTS = ("canonical_weight", "smoothness", "spatial_weight", "folding_weight", "least_speed")
"""Settings of stage 2 that mean something for a generator with a canonical image and a field only."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: Literal["stylegan-v", "projected"] = "stylegan-v"
    """The paper's discriminator, or one on frozen EfficientNet-Lite0 features (learns in hours on a small machine)."""
    stylegan_v: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    projected: ProjectedConfig = field(default_factory=ProjectedConfig)
    pretrain: StageConfig = field(default_factory=StageConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    max_distance: int = 32
    """The three frames of a clip lie within this many frames."""
    mirror: bool = True
    """Flip half of the clips left to right."""
    seed: int = 0
    """Seed of everything random."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of feature maps; auto: bfloat16 on CUDA GPUs and on CPUs with AMX, float32 elsewhere."""

    def __post_init__(self) -> None:
        if self.discriminator not in ("stylegan-v", "projected"):
            raise ConfigError(f"discriminator must be stylegan-v or projected, got {self.discriminator!r}")
        if self.max_distance < 3:
            raise ConfigError(f"max_distance must be at least 3 for clips of three frames, got {self.max_distance}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"precision must be auto, float32 or bfloat16, got {self.precision!r}")
        if self.generator.model != "gendef":
            for name in FIELD_WEIGHTS:
                value = getattr(self.finetune, name)
                if value:
                    raise ConfigError(
                        f"finetune.{name} is {value}, but {self.generator.model} paints frames and has no field:"
                        " leave it at 0 (gendef train --model does)"
                    )

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that this model has: StyleGAN-V and MoCoGAN begin with clips."""
        return ("pretrain", "finetune") if self.generator.model in ("gendef", "stylesv-mtm") else ("finetune",)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """The inverse of `to_dict`; fields that are left out keep their defaults.

        Raises:
            ConfigError: an unknown field, a wrong type or an impossible value.
        """
        built = dict(values)
        if isinstance(built.get("generator"), dict):
            built["generator"] = GeneratorConfig.from_dict(built["generator"])
        parts = {
            "stylegan_v": DiscriminatorConfig,
            "projected": ProjectedConfig,
            "pretrain": StageConfig,
            "finetune": FinetuneConfig,
        }
        for name, part in parts.items():
            if name in built:
                built[name] = build_config(part, built[name], name)
        return build_config(cls, built, "training")


def first_difference(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> str | None:
    """Dotted name of the first field in which two configurations differ, or None."""
    for key in sorted(set(ours) | set(theirs)):
        mine, other = ours.get(key), theirs.get(key)
        if isinstance(mine, dict) and isinstance(other, dict):
            inner = first_difference(mine, other, f"{prefix}{key}.")
            if inner:
                return inner
        elif _plain(mine) != _plain(other):
            return f"{prefix}{key}"
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
