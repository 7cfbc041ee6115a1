"""The comparisons of the paper as rows of configurations: Table 1 (baselines), Tables 2 to 4 and A1 (ablations)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from gendef.errors import ConfigError
from gendef.training.config import TrainConfig
from gendef.training.presets import SMALL_MTM, as_model

PAPER_LAYERS = (4, 8, 10, 12, 13, 14)
"""Layers of the paper's Table 3; 13 is the last one before the output, 14 the output itself."""
PAPER_LAST = 13


@dataclass(frozen=True)
class Row:
    """One training of a suite.

    Attributes:
        name: of its folder.
        title: in tables.
        config: its training.
        pretrains: whether it starts from stage 1, which all such rows share.
        paper: its name in `gendef.experiments.paper_tables`, or None where the paper has no such row.
    """

    name: str
    title: str
    config: TrainConfig
    pretrains: bool = True
    paper: str | None = None


def baselines(config: TrainConfig) -> list[Row]:
    """Table 1: GenDeF and its baselines."""
    rows = [Row("gendef", "GenDeF", config, paper="GenDeF")]
    for model, title in (("stylesv-mtm", "StyleSV-mtm"), ("stylegan-v", "StyleGAN-V"), ("mocogan", "MoCoGAN-SG2")):
        other = as_model(config, model)
        rows.append(Row(model, title, other, pretrains="pretrain" in other.stages, paper=title))
    return rows


def ablations(config: TrainConfig) -> list[Row]:
    """Tables 2, 3, 4 and A1, and GenDeF without `finetune.least_speed` if that is set."""

    def changed(name: str, title: str, paper: str, change: Callable[[TrainConfig], TrainConfig]) -> Row:
        return Row(name, title, change(config), paper=paper or None)

    rows = [
        Row("gendef", "GenDeF", config, paper="GenDeF"),
        changed("no-feature", "without f_c", "w/o f_c", lambda c: _deformation(c, condition_dim=0)),
        changed("no-smoothness", "without L_reg", "w/o L_reg", lambda c: _finetune(c, smoothness=0.0)),
        changed("no-push", "without least speed", "", lambda c: _finetune(c, least_speed=0.0)),
        *_feature_layers(config),
        Row("no-pretraining", "without pretraining", config, pretrains=False, paper="w/o pretraining"),
        changed("frozen", "pretrained, then fixed", "pretrained, fixed", lambda c: _finetune(c, canonical_rate=0.0)),
        changed("no-multiplier", "without multiplier", "w/o multiplier", lambda c: _deformation(c, init="none")),
        changed("xavier", "Xavier initialisation", "xavier", lambda c: _deformation(c, init="xavier")),
        changed("zero", "zero initialisation", "GenDeF", lambda c: _deformation(c, init="zero")),
    ]
    return [row for row in rows if row.name == "gendef" or row.config != config or not row.pretrains]


SUITES: dict[str, Callable[[TrainConfig], list[Row]]] = {"baselines": baselines, "paper": ablations}


def suite(name: str, config: TrainConfig) -> list[Row]:
    """The rows of a suite, each for the networks and settings of `config`, a GenDeF.

    Raises:
        ConfigError: there is no such suite, or `config` is not a GenDeF model.
    """
    if name not in SUITES:
        raise ConfigError(f"unknown suite {name!r}; one of: {', '.join(SUITES)}")
    if config.generator.model != "gendef":
        raise ConfigError(f"a suite starts from GenDeF, not from {config.generator.model}")
    return SUITES[name](with_mtm(config))


def with_mtm(config: TrainConfig) -> TrainConfig:
    """`config` with MTM in the canonical generator, so that GenDeF and StyleSV-mtm share it and its stage 1."""
    canonical = config.generator.canonical
    if canonical.mtm_sizes:
        return config
    canonical = replace(canonical, mtm_sizes=SMALL_MTM)
    return replace(config, generator=replace(config.generator, canonical=canonical))


def last_layer(config: TrainConfig) -> int:
    """Index of the last layer of the canonical generator before its output."""
    if config.generator.canonical.kind == "stylegan3":
        return config.generator.canonical.num_layers - 1
    return 2 * (config.generator.resolution.bit_length() - 3)


def _feature_layers(config: TrainConfig) -> list[Row]:
    """Table 3, its layers scaled to the depth of this canonical generator; layers that coincide are trained once."""
    last = last_layer(config)
    own = config.generator.canonical.feature_layer
    rows = []
    scaled = {layer: last + 1 if layer > PAPER_LAST else round(layer / PAPER_LAST * last) for layer in PAPER_LAYERS}
    for layer in sorted(set(scaled.values())):
        theirs = [paper for paper, ours in scaled.items() if ours == layer]
        if layer == (last if own is None else own):
            continue  # GenDeF itself
        canonical = replace(config.generator.canonical, feature_layer=layer)
        changed = replace(config, generator=replace(config.generator, canonical=canonical))
        where = "the output" if layer > last else f"layer {layer} of {last}"
        rows.append(Row(f"feature-{layer}", f"f_c of {where}", changed, paper=f"f_c of layer {theirs[-1]}"))
    return rows


def _deformation(config: TrainConfig, **changes: object) -> TrainConfig:
    deformation = replace(config.generator.deformation, **changes)  # type: ignore[arg-type]
    return replace(config, generator=replace(config.generator, deformation=deformation))


def _finetune(config: TrainConfig, **changes: float) -> TrainConfig:
    return replace(config, finetune=replace(config.finetune, **changes))  # type: ignore[arg-type]
