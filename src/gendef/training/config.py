"""Training configuration. Field docstrings are the command line's help."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from gendef.errors import ConfigError
from gendef.networks.discriminator_config import DiscriminatorConfig, ProjectedConfig
from gendef.networks.generator_config import GeneratorConfig
from gendef.runtime.config import Count, Decay, Positive, Range, Weight, build_config, check_config


@dataclass(frozen=True)
class StageConfig:
    """One training stage."""

    images: Positive = 25_000_000
    """Length: real images (stage 1) or clips (stage 2) shown to the discriminator."""
    batch_size: Positive = 64
    """Images or clips per step."""
    lr_generator: Weight = 0.0025
    """Adam step size of the generator."""
    lr_discriminator: Weight = 0.002
    """Adam step size of the discriminator."""
    beta1: Decay = 0.0
    """Adam's first decay."""
    beta2: Decay = 0.99
    """Adam's second decay."""
    r1_gamma: Weight = 0.5
    """Weight of the R1 gradient penalty; 0 for none (frozen features need none)."""
    r1_interval: Positive = 16
    """Steps between two R1 penalties (lazy regularisation)."""
    augment: Literal["none", "ada", "diffaug"] = "ada"
    """Augmentation of the discriminator's inputs, the same for all frames of a clip."""
    ada_target: Annotated[float, Range(least=-1, most=1)] = 0.6
    """ADA raises its strength while the mean sign of real logits is above this."""
    ada_images: Positive = 500_000
    """Number of images in which ADA's strength can rise from 0 to 1."""
    ema_images: Weight = 20_000
    """Half-life, in images, of the averaged generator that is kept."""

    def __post_init__(self) -> None:
        check_config(self, "finetune" if isinstance(self, FinetuneConfig) else "pretrain")


@dataclass(frozen=True)
class FinetuneConfig(StageConfig):
    """Stage 2: canonical image and deformation field together, on clips."""

    r1_gamma: Weight = 8.0
    """Weight of the R1 gradient penalty (paper: 8)."""
    canonical_rate: Weight = 1.0
    """Factor on lr_generator for G_c; 0 freezes it (an ablation of the paper)."""
    output_rate: Weight = 1.0
    """Factor on lr_generator for the last output layer of G_d, which determines how fast fields grow."""
    warmup: Count = 0
    """Clips at the start for which only the discriminator is trained, while all generated videos are still."""
    image_weight: Weight = 0.0
    """Weight of the image discriminator on every warped frame (projected discriminator)."""
    canonical_weight: Weight = 0.0
    """Weight of the image discriminator on the canonical image itself (projected discriminator)."""
    smoothness: Weight = 1.0
    """lambda_reg of the paper: weight of the structural temporal smoothness loss."""
    spatial_weight: Weight = 0.0
    """Weight of the bending of fields in space, in squared pixels."""
    folding_weight: Weight = 0.0
    """Weight of the folding penalty."""
    least_speed: Weight = 0.0
    """Minimum mean speed of generated motion, in pixels per frame; a loss acts below it; 0 for none. Set it slightly
    below the optical flow of the data if motion fades in a short training."""
    speed_weight: Weight = 5.0
    """Weight of the loss for least_speed."""


FIELD_WEIGHTS = ("canonical_weight", "smoothness", "spatial_weight", "folding_weight", "least_speed")
"""Settings of stage 2 that apply only to a generator with a canonical image and a field."""


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
    max_distance: Annotated[int, Range(least=3)] = 32
    """The three frames of a clip lie within this many frames."""
    mirror: bool = True
    """Flip half of the clips left to right."""
    seed: Count = 0
    """Seed of all random numbers."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of feature maps; auto: bfloat16 on CUDA GPUs and on CPUs with AMX, float32 elsewhere."""

    def __post_init__(self) -> None:
        check_config(self, "training")
        if self.generator.model != "gendef":
            for name in FIELD_WEIGHTS:
                value = getattr(self.finetune, name)
                if value:
                    raise ConfigError(
                        f"finetune.{name} is {value}, but {self.generator.model} has no field:"
                        " leave it at 0 (gendef train --model does)"
                    )

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of this model: StyleGAN-V and MoCoGAN have no stage 1."""
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
