import pytest
import torch
import torch.nn.functional as F

from gendef.errors import ConfigError
from gendef.geometry import folded_share, warp
from gendef.networks.canonical_config import CanonicalConfig, plan_layers
from gendef.networks.canonical_generator import build_canonical
from gendef.networks.generator import Generator, from_official_offsets
from gendef.networks.generator_config import DeformationConfig, GeneratorConfig, MotionConfig

MOTION = MotionConfig(noise_dim=8, num_features=8, kernel_size=3)


def small(kind="stylegan2", **options):
    canonical = options.pop("canonical", {})
    deformation = options.pop("deformation", {})
    return GeneratorConfig(
        resolution=32,
        z_dim=16,
        w_dim=16,
        canonical=CanonicalConfig(kind=kind, channel_base=256, channel_max=16, **canonical),
        motion=MOTION,
        deformation=DeformationConfig(channel_base=256, channel_max=16, condition_dim=4, **deformation),
        **options,
    )


def inputs(generator, batch=2, times=(0.0, 3.5, 17.0)):
    rows = generator.motion_noise_length(max(times))
    return {
        "z_content": torch.randn(batch, generator.z_dim),
        "z_motion": torch.randn(batch, generator.z_dim),
        "motion_noise": torch.randn(batch, rows, generator.motion_dim),
        "times": torch.tensor(times).expand(batch, -1),
    }


@pytest.mark.parametrize("kind", ["stylegan2", "stylegan3"])
def test_zero_initialisation_shows_the_canonical_image_exactly(kind):
    torch.manual_seed(0)
    generator = Generator(small(kind)).eval()
    with torch.no_grad():
        out = generator(**inputs(generator))
    assert torch.equal(out.deformation, torch.zeros(2, 3, 32, 32, 2))
    torch.testing.assert_close(out.video, out.canonical[:, None].expand(-1, 3, -1, -1, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("init", "channels"), [("xavier", 4), ("none", 2)])
def test_other_initialisations_move_from_the_start(init, channels):
    torch.manual_seed(0)
    generator = Generator(small(deformation={"init": init})).eval()
    assert generator.deformation.last_output.conv.weight.shape[0] == channels
    with torch.no_grad():
        assert generator(**inputs(generator)).deformation.abs().max() > 1e-3


def test_smooth_initialisation_moves_a_little_without_folding():
    torch.manual_seed(0)
    generator = Generator(small(deformation={"init": "smooth"})).eval()
    with torch.no_grad():
        field = generator(**inputs(generator)).deformation
    assert 1e-3 < field.abs().mean() < 0.2
    assert folded_share(field) == 0


def test_last_block_multiplies_and_adds():
    """With constant multiplier and addend the field is multiplier * (field of the blocks before) + addend."""
    torch.manual_seed(0)
    generator = Generator(small()).eval()
    output = generator.deformation.last_output
    values = inputs(generator)
    with torch.no_grad():
        output.bias.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]))
        before = generator(**values).deformation
        output.bias.copy_(torch.tensor([2.0, -1.0, 0.25, 0.5]))
        after = generator(**values).deformation
    assert before.abs().max() > 1e-3
    torch.testing.assert_close(after, before * torch.tensor([2.0, -1.0]) + torch.tensor([0.25, 0.5]))


def test_canonical_image_does_not_depend_on_motion():
    torch.manual_seed(0)
    generator = Generator(small(deformation={"init": "xavier"})).eval()
    values = inputs(generator)
    with torch.no_grad():
        first = generator(**values)
        second = generator(**{**values, "z_motion": torch.randn(2, 16), "times": values["times"] + 0.5})
    assert torch.equal(first.canonical, second.canonical)
    assert not torch.allclose(first.deformation, second.deformation)


def test_content_once_and_fields_in_chunks_equal_all_at_once():
    torch.manual_seed(0)
    generator = Generator(small(deformation={"init": "xavier", "mtm_resolutions": (8, 16)})).eval()
    values = inputs(generator)
    with torch.no_grad():
        whole = generator(**values)
        content = generator.content(values["z_content"])
        parts = [
            generator.deform(content, values["z_motion"], values["motion_noise"], values["times"][:, i : i + 1])
            for i in range(3)
        ]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole.deformation, atol=1e-5, rtol=1e-4)


def test_truncation_pulls_towards_the_average():
    torch.manual_seed(0)
    generator = Generator(small()).eval()
    values = inputs(generator)
    with torch.no_grad():
        none = generator(**values, truncation=0.0).canonical
    torch.testing.assert_close(none[0], none[1])


def test_labels_condition_content_and_motion():
    torch.manual_seed(0)
    generator = Generator(small(num_classes=3, deformation={"init": "xavier"})).eval()
    values = inputs(generator)
    one, two = (torch.eye(3)[[k, k]] for k in (0, 1))
    with torch.no_grad():
        first, second = generator(**values, labels=one), generator(**values, labels=two)
    assert not torch.allclose(first.canonical, second.canonical)
    assert not torch.allclose(first.deformation, second.deformation)
    with pytest.raises(ValueError, match="condition"):
        generator(**values)


@pytest.mark.parametrize("kind", ["stylegan2", "stylegan3"])
def test_feature_layers(kind):
    last = 6 if kind == "stylegan2" else 14
    for layer in (0, last - 1, last, last + 1 if kind == "stylegan2" else last):
        canonical = build_canonical(32, small(kind, canonical={"feature_layer": layer}).canonical, 16)
        image, feature = canonical(torch.randn(2, 16))
        assert image.shape == (2, 3, 32, 32)
        assert feature.shape[1] == canonical.feature_channels
    with pytest.raises(ConfigError, match="feature_layer"):
        build_canonical(32, small(kind, canonical={"feature_layer": 99}).canonical, 16)


@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 1024])
def test_stylegan3_layer_plan(resolution):
    plans = plan_layers(resolution, CanonicalConfig())
    assert [plan.size for plan in plans[:2]] == [36, 36]
    assert plans[-1].size == plans[-2].size == resolution
    assert plans[-1].channels == 3
    assert plans[-1].cutoff == pytest.approx(resolution / 2)
    # The published 256-pixel network: sizes 36 to 276, 512 channels down to 128.
    if resolution == 256:
        assert [plan.size for plan in plans] == [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3 + [256] * 2
        assert [plan.channels for plan in plans] == [512] * 9 + [362, 256, 181, 128, 128, 3]


def test_official_offsets_become_fields_of_the_design():
    torch.manual_seed(0)
    image, offsets = torch.randn(1, 3, 16, 16).double(), 0.3 * torch.randn(1, 2, 16, 16, 2).double()
    axis = 2 * torch.arange(16).double() / 16 - 1
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    official = F.grid_sample(image.expand(2, -1, -1, -1), (grid + offsets)[0], padding_mode="zeros", align_corners=True)
    ours = warp(image, from_official_offsets(offsets), padding="zeros")[0]
    torch.testing.assert_close(ours, official)


def test_configuration_round_trip_and_errors():
    config = small("stylegan3", canonical={"mtm_sizes": (36, 52)})
    assert GeneratorConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="no field 'wdim'"):
        GeneratorConfig.from_dict({"wdim": 3})
    with pytest.raises(ConfigError, match=r"canonical\.channel_max"):
        GeneratorConfig.from_dict({"canonical": {"channel_max": "many"}})
    with pytest.raises(ConfigError, match="power of two"):
        Generator(GeneratorConfig(resolution=48, canonical=CanonicalConfig(kind="stylegan2")))


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    generator = Generator(small(deformation={"init": "xavier", "mtm_resolutions": (8,)})).train()
    out = generator(**inputs(generator))
    (out.video.square().mean() + out.deformation.square().mean()).backward()
    missing = [name for name, p in generator.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing
