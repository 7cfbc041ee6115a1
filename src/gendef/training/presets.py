"""Named training configurations: the paper's for large machines, smaller ones for a single GPU or a CPU."""

from dataclasses import replace
from typing import Any, Literal

from gendef.errors import ConfigError
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.discriminator_config import DiscriminatorConfig, ProjectedConfig
from gendef.networks.generator_config import MODELS, DeformationConfig, GeneratorConfig, MotionConfig
from gendef.training.config import FIELD_WEIGHTS, FinetuneConfig, StageConfig, TrainConfig

SMALL_MTM = (8,)
"""Sizes of the MTM layers of StyleSV-mtm with a StyleGAN2 generator."""


def _paper(motion_distance: int) -> TrainConfig:
    """StyleGAN3 with f_c of layer 13 and MTM, 256 pixels, the paper's losses (section 4.1)."""
    motion = MotionConfig(distance=motion_distance, min_period=motion_distance, max_period=1024)
    return TrainConfig(
        generator=GeneratorConfig(
            resolution=256,
            canonical=CanonicalConfig(feature_layer=13, mtm_sizes=(36, 52)),
            motion=motion,
            deformation=DeformationConfig(mtm_resolutions=(4, 8, 16, 32)),
        ),
        discriminator="stylegan-v",
        stylegan_v=DiscriminatorConfig(resolution=256),
        pretrain=StageConfig(images=25_000_000, batch_size=64, r1_gamma=0.5, augment="ada"),
        finetune=FinetuneConfig(images=25_000_000, batch_size=64, r1_gamma=8.0, augment="ada", smoothness=1.0),
    )


def _small(resolution: int, canonical_base: int, deformation_base: int, widest: int) -> TrainConfig:
    """StyleGAN2 canonical images and a discriminator on frozen features: learns in hours on a small machine."""
    return TrainConfig(
        generator=GeneratorConfig(
            resolution=resolution,
            z_dim=128,
            w_dim=128,
            canonical=CanonicalConfig(
                kind="stylegan2", channel_base=canonical_base, channel_max=widest, conv_clamp=None
            ),
            # With 16 frames content sways instead of drifting on (docs/notes/swaying.md).
            motion=MotionConfig(noise_dim=64, num_features=64, distance=64, min_period=64.0),
            deformation=DeformationConfig(
                channel_base=deformation_base, channel_max=widest // 2, condition_dim=16, init="smooth", conv_clamp=None
            ),
        ),
        discriminator="projected",
        stylegan_v=DiscriminatorConfig(resolution=resolution, channel_base=canonical_base, channel_max=widest),
        projected=ProjectedConfig(feature_size=96 if resolution <= 64 else 128),
        pretrain=StageConfig(
            images=400_000,
            batch_size=16,
            lr_generator=0.002,
            lr_discriminator=0.002,
            r1_gamma=300.0,
            r1_interval=4,
            augment="diffaug",
            ema_images=3_000,
        ),
        finetune=FinetuneConfig(
            images=150_000,
            batch_size=8,
            lr_generator=0.001,
            lr_discriminator=0.001,
            r1_gamma=200.0,
            r1_interval=4,
            augment="diffaug",
            ema_images=2_000,
            canonical_rate=1.0,
            output_rate=0.2,
            warmup=256,
            image_weight=0.5,
            smoothness=1.0,
            spatial_weight=1.0,
            folding_weight=10.0,
        ),
    )


PresetName = Literal["sky256", "taichi256", "ytb256", "base128", "mini64", "tiny32"]
PRESETS: dict[PresetName, tuple[str, TrainConfig]] = {
    "sky256": ("the paper's SkyTimelapse model, 8 GPUs", _paper(256)),
    "taichi256": ("the paper's TaiChi-HD model, 8 GPUs", _paper(16)),
    "ytb256": ("the paper's YouTube Driving model, 8 GPUs", _paper(16)),
    "base128": ("128 pixels, one GPU, or a day on a CPU", _small(128, 4096, 2048, 256)),
    "mini64": ("64 pixels, hours on two CPU cores", _small(64, 2048, 768, 128)),
    "tiny32": ("32 pixels, minutes on two CPU cores, to try things out", _small(32, 1024, 256, 64)),
}


def preset(name: str) -> TrainConfig:
    """The configuration called `name`.

    Raises:
        ConfigError: there is no such preset.
    """
    for known, (_, config) in PRESETS.items():
        if known == name:
            return config
    raise ConfigError(f"unknown preset {name!r}; one of: {', '.join(PRESETS)}")


def as_model(config: TrainConfig, model: str) -> TrainConfig:
    """`config`, made for GenDeF, for one of the models of the paper's Table 1.

    The networks have the same widths, and the discriminator is the same. Weights of losses on the field become 0. A
    model without pretraining takes the step sizes, R1 weight and moving average of stage 1: those of stage 2 are for
    pretrained networks.

    Raises:
        ConfigError: there is no such model.
    """
    if model not in MODELS:
        raise ConfigError(f"unknown model {model!r}; one of: {', '.join(MODELS)}")
    if model == "gendef":
        return config
    canonical = config.generator.canonical
    if model == "stylesv-mtm" and not canonical.mtm_sizes:
        canonical = replace(canonical, mtm_sizes=SMALL_MTM)
    generator = GeneratorConfig.from_dict({**config.generator.to_dict(), "model": model})
    generator = replace(generator, canonical=canonical)
    changes: dict[str, Any] = dict.fromkeys(FIELD_WEIGHTS, 0.0)
    if model in ("stylegan-v", "mocogan"):
        first = config.pretrain
        names = ("lr_generator", "lr_discriminator", "r1_gamma", "r1_interval", "ema_images")
        changes |= {name: getattr(first, name) for name in names}
    if model == "mocogan":
        changes["image_weight"] = 1.0
    return replace(config, generator=generator, finetune=replace(config.finetune, **changes))


def fit_to_data(config: TrainConfig, resolution: int, num_classes: int) -> TrainConfig:
    """`config` with the data set's number of classes.

    Raises:
        ConfigError: the data have another resolution than the networks.
    """
    wanted = config.generator.resolution
    if resolution != wanted:
        raise ConfigError(
            f"the data are {resolution}x{resolution}, the networks {wanted}x{wanted}:"
            f" prepare the data with --resolution {wanted}, or choose another preset"
        )
    if config.stylegan_v.resolution != wanted and config.discriminator == "stylegan-v":
        raise ConfigError(
            f"stylegan_v.resolution is {config.stylegan_v.resolution}, the generator's {wanted}: make them equal"
        )
    return replace(
        config,
        generator=replace(config.generator, num_classes=num_classes),
        stylegan_v=replace(config.stylegan_v, num_classes=num_classes),
        projected=replace(config.projected, num_classes=num_classes),
    )
