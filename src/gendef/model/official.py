"""The official GenDeF networks (public release of March 2026) as ours: configuration and parameter names, both ways.

`case` is a plain dict of the official options (see `official_generator_config`); `state` maps official parameter
names to tensors. Filters and other values that follow from the architecture are computed, not loaded.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gendef.errors import ConfigError, ModelError
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.canonical_generator import StyleGAN3Canonical
from gendef.networks.discriminator_config import DiscriminatorConfig
from gendef.networks.generator import Generator
from gendef.networks.generator_config import DeformationConfig, GeneratorConfig, MotionConfig
from gendef.networks.stylegan_v_discriminator import Discriminator

# Buffers of the official modules that follow from the architecture.
COMPUTED = re.compile(
    r"(^|\.)(up_filter|down_filter|resample_filter|transform|freqs_time|phase_scales|progress_scales|noise_const"
    r"|num_batches_tracked|time_encoder\.(freqs|phase_scales|progress_scales|coefs|time_encoder\..*))$"
)
LAYER = re.compile(r"^synthesis\.L(\d+)_\d+_\d+\.(.+)$")
BLOCK = re.compile(r"^synthesis_deform\.b(\d+)\.(conv0|conv1|torgb)\.(.+)$")


def _field(case: Mapping[str, Any], name: str) -> Any:
    try:
        return case[name]
    except KeyError:
        raise ConfigError(f"the case has no field {name!r}") from None


def official_generator_config(case: Mapping[str, Any], state: Mapping[str, Tensor]) -> GeneratorConfig:
    """Our configuration of the official generator that `case` and the names in `state` describe.

    Raises:
        ConfigError: a field of `case` is missing or impossible.
    """
    feature = re.match(r"L(\d+)(_|$)", str(_field(case, "canonical_feature")))
    if feature is None:
        raise ConfigError(
            f"canonical_feature must be a layer name such as L13_64_32, got {case['canonical_feature']!r}"
        )
    canonical_sizes = _mtm_sizes(state, r"^synthesis\.L\d+_(\d+)_\d+\.dcn_weight$")
    deformation_sizes = _mtm_sizes(state, r"^synthesis_deform\.b(\d+)\.conv1\.dcn_weight$")
    embed = state.get("mapping.embed.weight")
    return GeneratorConfig(
        resolution=_field(case, "resolution"),
        z_dim=_field(case, "z_dim"),
        w_dim=_field(case, "w_dim"),
        mapping_layers=_field(case, "mapping_layers"),
        num_classes=0 if embed is None else embed.shape[1],
        canonical=CanonicalConfig(
            kind="stylegan3",
            channel_base=_field(case, "channel_base"),
            channel_max=_field(case, "channel_max"),
            feature_layer=int(feature[1]),
            mtm_sizes=canonical_sizes,
            num_layers=_field(case, "num_layers"),
            num_critical=_field(case, "num_critical"),
            margin=_field(case, "margin"),
            output_scale=_field(case, "output_scale"),
            conv_clamp=_field(case, "conv_clamp"),
        ),
        motion=MotionConfig(
            noise_dim=_motion_width(state, case),
            kernel_size=_field(case, "motion_kernel"),
            distance=_field(case, "motion_z_distance"),
            min_period=_field(case, "min_period"),
            max_period=_field(case, "max_period"),
            num_features=_field(case, "time_features"),
        ),
        deformation=DeformationConfig(
            channel_base=_field(case, "channel_base"),
            channel_max=_field(case, "channel_max"),
            condition_dim=_field(case, "condition_dim"),
            init=_field(case, "deform_init"),
            mtm_resolutions=deformation_sizes,
            conv_clamp=_field(case, "conv_clamp"),
        ),
        shared_latent=True,
        canonical_motion=True,
        official_grid=True,
    )


def _mtm_sizes(state: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    matches = (re.match(pattern, name) for name in state)
    return tuple(sorted({int(match[1]) for match in matches if match}))


def _motion_width(state: Mapping[str, Tensor], case: Mapping[str, Any]) -> int:
    weight = state.get("synthesis_deform.motion_encoder.conv.0.weight")
    return _field(case, "w_dim") if weight is None else weight.shape[1]


def _generator_name(name: str, resolution: int) -> str:
    """Our name of an official generator parameter."""
    if match := LAYER.match(name):
        own = match[2] in ("bias", "magnitude_ema")
        return f"canonical.layers.{match[1]}.{'' if own else 'conv.'}{match[2]}"
    if match := BLOCK.match(name):
        own = match[3] == "bias" or match[3].startswith("canonical_feat_proj.")
        index = int(match[1]).bit_length() - 3
        return f"deformation.blocks.{index}.{match[2]}.{'' if own else 'conv.'}{match[3]}"
    if name == "synthesis_deform.b4.input.input.const":
        return "deformation.const"
    for official, ours in (
        ("synthesis.motion_mask", "motion_mask"),
        ("synthesis.motion_encoder.", "canonical_motion_encoder."),
        ("synthesis_deform.motion_encoder.", "motion_encoder."),
        ("mapping_deform.", "motion_mapping."),
        ("synthesis.", "canonical."),
    ):
        if name.startswith(official):
            return ours + name[len(official) :]
    return name


def _discriminator_name(name: str, resolution: int) -> str:
    """Our name of an official discriminator parameter."""
    match = re.match(r"^b(\d+)\.(.+)$", name)
    if match is None or match[1] == "4":
        return name
    return f"blocks.{resolution.bit_length() - int(match[1]).bit_length()}.{match[2]}"


def _load(module: nn.Module, state: Mapping[str, Tensor], rename: Any, resolution: int) -> None:
    own = module.state_dict()
    wanted = {rename(name, resolution): name for name in state if not COMPUTED.search(name)}
    missing, unknown = sorted(set(own) - set(wanted)), sorted(set(wanted) - set(own))
    if missing or unknown:
        what = f"has nothing for {missing[0]!r}" if missing else f"holds an unknown {wanted[unknown[0]]!r}"
        raise ModelError(f"the official state {what}; does the case describe this network?")
    for name, official in wanted.items():
        if own[name].shape != state[official].shape:
            raise ModelError(
                f"{official} has shape {tuple(state[official].shape)}, the case asks for {tuple(own[name].shape)}"
            )
    module.load_state_dict({name: state[official].to(torch.float32) for name, official in wanted.items()})


def official_generator(case: Mapping[str, Any], state: Mapping[str, Tensor]) -> Generator:
    """The official generator, in evaluation mode.

    Call it as `G(z_content=z, z_motion=z, motion_noise=noise, times=times, truncation=psi)`: the official network
    has one latent for both.

    Raises:
        ConfigError: `case` lacks a field. ModelError: names or shapes of `state` do not fit.
    """
    generator = Generator(official_generator_config(case, state))
    _load(generator, state, _generator_name, generator.resolution)
    return generator.eval().requires_grad_(False)


def official_discriminator(case: Mapping[str, Any], state: Mapping[str, Tensor]) -> Discriminator:
    """The official discriminator, in evaluation mode: `D(video (B, T, 3, R, R), times (B, T)) -> (B,)`.

    Raises:
        ConfigError: `case` lacks a field. ModelError: names or shapes of `state` do not fit.
    """
    embedding = state.get("time_encoder.const_embed.weight")
    time_dim = DiscriminatorConfig.time_dim if embedding is None else embedding.shape[1]
    frames = _field(case, "d_frames")
    num_classes = 0
    if "mapping.embed.weight" in state:
        num_classes = state["mapping.embed.weight"].shape[1] - (frames - 1) * (time_dim + 20)
    discriminator = Discriminator(
        DiscriminatorConfig(
            resolution=_field(case, "resolution"),
            channel_base=_field(case, "channel_base"),
            channel_max=_field(case, "channel_max"),
            num_frames=frames,
            max_num_frames=_field(case, "d_max_num_frames"),
            concat_resolution=_field(case, "d_concat_resolution"),
            time_dim=time_dim,
            mapping_layers=_field(case, "mapping_layers"),
            minibatch_std_group=_field(case, "d_minibatch_std_group"),
            conv_clamp=_field(case, "conv_clamp"),
            num_classes=max(num_classes, 0),
        )
    )
    _load(discriminator, state, _discriminator_name, discriminator.config.resolution)
    return discriminator.eval().requires_grad_(False)


def official_generator_state(generator: Generator) -> dict[str, Tensor]:
    """The inverse of `official_generator`: parameters of a generator of the official family under official names.

    Raises:
        ModelError: the generator is not of that family (StyleGAN3 with `canonical_motion`).
    """
    canonical = generator.canonical
    if not isinstance(canonical, StyleGAN3Canonical) or not generator.config.canonical_motion:
        raise ModelError("only a StyleGAN3 generator with canonical_motion has official names")
    sizes = [block.resolution for block in generator.deformation.blocks]
    official: dict[str, Tensor] = {}
    for name, value in generator.state_dict().items():
        if match := re.match(r"^canonical\.layers\.(\d+)\.(?:conv\.)?(.+)$", name):
            official[f"synthesis.{canonical.layer_names[int(match[1])]}.{match[2]}"] = value
        elif match := re.match(r"^deformation\.blocks\.(\d+)\.(conv0|conv1|torgb)\.(?:conv\.)?(.+)$", name):
            official[f"synthesis_deform.b{sizes[int(match[1])]}.{match[2]}.{match[3]}"] = value
        else:
            official[_official_prefix(name)] = value
    return official


def _official_prefix(name: str) -> str:
    for ours, official in (
        ("deformation.const", "synthesis_deform.b4.input.input.const"),
        ("motion_mask", "synthesis.motion_mask"),
        ("canonical_motion_encoder.", "synthesis.motion_encoder."),
        ("motion_encoder.", "synthesis_deform.motion_encoder."),
        ("motion_mapping.", "mapping_deform."),
        ("canonical.", "synthesis."),
    ):
        if name.startswith(ours):
            return official + name[len(ours) :]
    return name


def official_discriminator_state(discriminator: Discriminator) -> dict[str, Tensor]:
    """The inverse of `official_discriminator`."""
    sizes = discriminator.sizes
    return {
        re.sub(r"^blocks\.(\d+)\.", lambda match: f"b{sizes[int(match[1])]}.", name): value
        for name, value in discriminator.state_dict().items()
    }
