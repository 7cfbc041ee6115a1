"""Configuration of the generators. It imports without torch, so that `gendef train --help` is quick."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from gendef.errors import ConfigError
from gendef.networks.canonical_config import CanonicalConfig
from gendef.runtime.config import Count, Positive, PositiveFloat, Range, build_config, check_config

Resolution = Annotated[int, Range(least=8, power_of_two=True)]
"""Side of the frames."""
ModelName = Literal["gendef", "stylegan-v", "stylesv-mtm", "mocogan"]
"""GenDeF, and the baselines that output every frame directly (`gendef.networks.baselines`)."""
MODELS: tuple[ModelName, ...] = get_args(ModelName)


@dataclass(frozen=True)
class MotionConfig:
    """How motion noise becomes time-dependent codes."""

    noise_dim: Positive = 512
    """Width of the motion noise and of the vectors u that two convolutions make of it."""
    kernel_size: Positive = 11
    """Kernel of the two 1-D convolutions over the noise."""
    distance: Positive = 16
    """Frames between two noise vectors (the motion period of the data set)."""
    min_period: PositiveFloat = 16.0
    """Shortest period of the positional encoding, in frames."""
    max_period: PositiveFloat = 1024.0
    """Longest period of the positional encoding, in frames."""
    num_features: Positive = 256
    """Number of periods; the code has twice as many entries."""

    def __post_init__(self) -> None:
        check_config(self, "motion")
        if self.min_period > self.max_period:
            raise ConfigError(f"motion: needs min_period <= max_period, got {self.min_period} > {self.max_period}")

    @property
    def code_dim(self) -> int:
        """Width of a motion code."""
        return 2 * self.num_features


@dataclass(frozen=True)
class DeformationConfig:
    """The deformation field generator."""

    channel_base: Positive = 32768
    """Channels of a block are channel_base / resolution ..."""
    channel_max: Positive = 512
    """... but at most this."""
    condition_dim: Count = 64
    """Channels that f_c is projected to before it joins each layer; 0 leaves f_c out (an ablation)."""
    init: Literal["zero", "xavier", "none", "smooth"] = "zero"
    """Start of the output layers: zero or Xavier multiplier and addend, or no multiplier (paper, Table A1); smooth:
    a multiplier of one on small fields of the two coarsest blocks, for short trainings."""
    mtm_resolutions: tuple[Positive, ...] = ()
    """Blocks of these resolutions sample at learned offsets (MTM)."""
    conv_clamp: PositiveFloat | None = 256.0
    """Bound on the absolute value of activations."""

    def __post_init__(self) -> None:
        check_config(self, "deformation")


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that decides the generator's architecture."""

    model: ModelName = "gendef"
    """GenDeF, or a baseline that outputs every frame directly."""
    resolution: Resolution = 256
    """Side of the frames, a power of two."""
    z_dim: Positive = 512
    """Width of the content and motion latents."""
    w_dim: Positive = 512
    """Width of the mapped latents."""
    mapping_layers: Positive = 2
    """Layers of each mapping network."""
    num_classes: Count = 0
    """Classes of the labels, 0 for none."""
    canonical: CanonicalConfig = field(default_factory=CanonicalConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    deformation: DeformationConfig = field(default_factory=DeformationConfig)
    shared_latent: bool = False
    """One latent for content and motion (as the official code), instead of two."""
    canonical_motion: bool = False
    """G_c gets the first frame's motion code, as in the official code; the canonical image then depends on time."""
    official_grid: bool = False
    """Apply offsets on the official grid: 2i/N - 1, corner-aligned, zeros outside; a zero field zooms slightly."""

    def __post_init__(self) -> None:
        check_config(self, "generator")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "GeneratorConfig":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: an unknown field, a wrong type or an impossible value.
        """
        parts = {"canonical": CanonicalConfig, "motion": MotionConfig, "deformation": DeformationConfig}
        built = dict(values)
        for name, part in parts.items():
            if name in built:
                built[name] = build_config(part, built[name], name)
        return build_config(cls, built, "generator")
