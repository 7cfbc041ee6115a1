"""Strict fields of configurations: values that are refused, values that are taken, and what the error names."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from gendef.errors import ConfigError
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.discriminator_config import DiscriminatorConfig, ProjectedConfig
from gendef.networks.generator_config import DeformationConfig, GeneratorConfig, MotionConfig
from gendef.runtime.config import Count, Decay, Fraction, Positive, PositiveFloat, Range, build_config, check_config
from gendef.training.config import FinetuneConfig, StageConfig, TrainConfig
from gendef.training.presets import PRESETS


@dataclass(frozen=True)
class Inner:
    size: Positive = 1

    def __post_init__(self) -> None:
        check_config(self, "inner")


@dataclass(frozen=True)
class Outer:
    count: Count = 0
    rate: Decay = 0.5
    share: Fraction = 1.0
    bound: PositiveFloat | None = None
    side: Annotated[int, Range(least=8, power_of_two=True)] = 8
    wide: Annotated[int, Range(most=96, multiple_of=32)] = 64
    kind: Literal["a", "b"] = "a"
    sizes: tuple[Positive, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    flag: bool = False
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        check_config(self, "outer")


@pytest.mark.parametrize(
    "values",
    [
        {"count": 0},
        {"rate": 0, "share": 1},  # whole numbers are numbers
        {"bound": None},
        {"bound": 1e-9},
        {"side": 1024},
        {"wide": -32},
        {"sizes": (36, 52)},
        {"sizes": [36, 52]},  # as JSON and YAML have them
        {"pair": (2, 3)},
        {"inner": Inner(3)},
    ],
)
def test_values_that_are_taken(values):
    built = build_config(Outer, values, "outer")
    for name, value in values.items():
        assert getattr(built, name) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", -1),
        ("count", True),
        ("count", 1.0),
        ("count", "1"),
        ("rate", 1.0),
        ("rate", -0.1),
        ("rate", float("nan")),
        ("share", 1.5),
        ("bound", 0),
        ("bound", "strong"),
        ("bound", float("inf")),
        ("side", 4),
        ("side", 24),
        ("wide", 128),
        ("wide", 65),
        ("kind", "c"),
        ("kind", None),
        ("sizes", "36"),
        ("sizes", (36, 0)),
        ("sizes", (36.0,)),
        ("sizes", 36),
        ("pair", (1,)),
        ("pair", ("1", 2.0)),
        ("flag", 1),
        ("inner", {"size": 1}),
        ("inner", None),
    ],
)
def test_values_that_are_refused(field, value):
    with pytest.raises(ConfigError) as caught:
        build_config(Outer, {field: value}, "outer")
    assert f"outer.{field} " in str(caught.value) and repr(value) in str(caught.value)


def test_the_error_says_what_is_allowed():
    with pytest.raises(ConfigError, match=r"outer\.side must be an integer >= 8 and a power of two, got 24"):
        Outer(side=24)
    with pytest.raises(ConfigError, match=r"outer\.bound must be a number > 0 or none, got 'strong'"):
        Outer(bound="strong")  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [3, None, [("count", 1)], {"number": 1}, {1: 2}])
def test_only_tables_of_known_fields(values):
    with pytest.raises(ConfigError):
        build_config(Outer, values, "outer")


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (CanonicalConfig, "conv_clamp", "strong"),
        (CanonicalConfig, "conv_clamp", -1.0),
        (CanonicalConfig, "mtm_sizes", "36"),
        (CanonicalConfig, "kind", "stylegan4"),
        (CanonicalConfig, "num_critical", 14),
        (CanonicalConfig, "feature_layer", -1),
        (CanonicalConfig, "output_scale", 0.0),
        (DeformationConfig, "init", "one"),
        (DeformationConfig, "mtm_resolutions", (4, "8")),
        (DeformationConfig, "condition_dim", -1),
        (MotionConfig, "min_period", 0.0),
        (MotionConfig, "kernel_size", 2.0),
        (GeneratorConfig, "resolution", -3),
        (GeneratorConfig, "resolution", 100),
        (GeneratorConfig, "model", "gan"),
        (GeneratorConfig, "w_dim", 0),
        (GeneratorConfig, "shared_latent", 1),
        (GeneratorConfig, "canonical", {"kind": "stylegan2"}),
        (DiscriminatorConfig, "resolution", 48),
        (DiscriminatorConfig, "minibatch_std_group", 0),
        (DiscriminatorConfig, "conv_clamp", 0),
        (ProjectedConfig, "feature_size", 100),
        (ProjectedConfig, "mixing_seed", 0.5),
        (StageConfig, "beta1", 7),
        (StageConfig, "beta2", 1.0),
        (StageConfig, "batch_size", 0),
        (StageConfig, "ada_target", 2.0),
        (FinetuneConfig, "smoothness", -1.0),
        (FinetuneConfig, "warmup", 0.5),
        (FinetuneConfig, "canonical_rate", -1.0),
        (TrainConfig, "max_distance", 2),
        (TrainConfig, "mirror", "yes"),
        (TrainConfig, "precision", "half"),
        (TrainConfig, "discriminator", "patch"),
        (TrainConfig, "seed", None),
    ],
)
def test_networks_and_training_refuse_nonsense(config, field, value):
    with pytest.raises(ConfigError) as caught:
        config(**{field: value})
    assert field in str(caught.value) and str(value) in str(caught.value)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_plain_values(name):
    config = PRESETS[name][1]
    assert TrainConfig.from_dict(config.to_dict()) == config
