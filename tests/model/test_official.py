import importlib.util
import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gendef.errors import ConfigError, ModelError
from gendef.interop import (
    official_discriminator,
    official_discriminator_state,
    official_generator,
    official_generator_state,
)
from gendef.kernels.registry import plain_forms
from gendef.networks.discriminator_config import DiscriminatorConfig
from gendef.networks.stylegan_v_discriminator import Discriminator

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="needs ../shared/reference, the values recorded from the official networks"
)


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("weights", REFERENCE / "weights.py")
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    case = json.loads((REFERENCE / "gendef64" / "case.json").read_text())
    state = {
        part: {name: weights.tensor(case, name, tuple(shape)) for name, shape in case["shapes"][part].items()}
        for part in ("G", "D")
    }
    return case, state, load_file(REFERENCE / "gendef64" / "io.safetensors")


@pytest.fixture(params=["fast", "plain"])
def forms(request):
    """The whole network with the fast forms of the kernels, and with their plain forms."""
    with plain_forms() if request.param == "plain" else nullcontext():
        yield


@needs_reference
@pytest.mark.usefixtures("forms")
def test_generator_matches_the_official_network(reference):
    case, state, io = reference
    generator = official_generator(case, state["G"])
    out = generator(z_content=io["z"], z_motion=io["z"], motion_noise=io["motion_noise"], times=io["t"], truncation=1.0)
    torch.testing.assert_close(generator.mapping(io["z"]), io["w_canonical"], atol=1e-5, rtol=0)
    torch.testing.assert_close(generator.motion_mapping(io["z"]), io["w_deformation"], atol=1e-5, rtol=0)
    codes = generator.motion_encoder(io["motion_noise"], io["t"]).flatten(0, 1)
    torch.testing.assert_close(codes, io["motion_code"], atol=1e-4, rtol=0)
    torch.testing.assert_close(out.canonical, io["canonical"], atol=2e-4, rtol=0)
    torch.testing.assert_close(out.video.flatten(0, 1), io["video"], atol=2e-4, rtol=0)


@needs_reference
@pytest.mark.usefixtures("forms")
def test_discriminator_matches_the_official_network(reference):
    case, state, io = reference
    discriminator = official_discriminator(case, state["D"])
    video = io["video"].reshape(2, 3, 3, 64, 64).requires_grad_()
    logits = discriminator(video, io["d_times"])
    torch.testing.assert_close(logits, io["logits"], atol=0, rtol=1e-3)
    (gradient,) = torch.autograd.grad(logits.sum(), video)
    torch.testing.assert_close(gradient.square().sum(dim=(2, 3, 4)).flatten(), io["r1"], atol=0, rtol=1e-3)


CASE = {
    "resolution": 32,
    "channel_base": 512,
    "channel_max": 16,
    "num_layers": 14,
    "num_critical": 2,
    "margin": 10,
    "output_scale": 0.25,
    "conv_clamp": 256,
    "z_dim": 16,
    "w_dim": 16,
    "mapping_layers": 2,
    "canonical_feature": "L12_52_16",
    "condition_dim": 8,
    "motion_kernel": 11,
    "motion_z_distance": 8,
    "min_period": 8,
    "max_period": 256,
    "time_features": 8,
    "deform_init": "zero",
    "d_concat_resolution": 16,
    "d_frames": 3,
    "d_max_num_frames": 64,
    "d_minibatch_std_group": 4,
}


def test_generator_state_round_trip():
    """Official names out and in again give the same network, MTM included."""
    from gendef.model.official import official_generator_config
    from gendef.networks.generator import Generator

    torch.manual_seed(0)
    markers = {
        "synthesis.L0_36_16.dcn_weight": torch.empty(0),
        "synthesis_deform.b8.conv1.dcn_weight": torch.empty(0),
        "synthesis_deform.motion_encoder.conv.0.weight": torch.empty(16, 16, 11),
    }
    generator = Generator(official_generator_config(CASE, markers)).eval()
    state = official_generator_state(generator)
    assert "synthesis.L14_32_3.weight" in state and "synthesis_deform.b8.conv1.dcn_affine.weight" in state
    again = official_generator(CASE, state)
    noise, times = torch.randn(2, 32, 16), torch.tensor([[0.0, 2.5, 9.0]]).repeat(2, 1)
    z = torch.randn(2, 16)
    for truncation in (1.0, 0.7):
        mine = generator(z_content=z, z_motion=z, motion_noise=noise, times=times, truncation=truncation)
        theirs = again(z_content=z, z_motion=z, motion_noise=noise, times=times, truncation=truncation)
        torch.testing.assert_close(mine.video, theirs.video)


def test_discriminator_state_round_trip():
    torch.manual_seed(0)
    config = DiscriminatorConfig(resolution=32, channel_base=512, channel_max=16, max_num_frames=64)
    discriminator = Discriminator(config).eval()
    state = official_discriminator_state(discriminator)
    assert "b32.fromrgb.weight" in state and "b4.out.weight" in state
    again = official_discriminator(CASE, state)
    video, times = torch.randn(2, 3, 3, 32, 32), torch.tensor([[0.0, 3, 9]]).repeat(2, 1)
    torch.testing.assert_close(again(video, times), discriminator(video, times))


def test_bad_cases():
    with pytest.raises(ConfigError, match="no field 'canonical_feature'"):
        official_generator({}, {})
    with pytest.raises(ConfigError, match="layer name"):
        official_generator({**CASE, "canonical_feature": "last"}, {})
    with pytest.raises(ModelError, match="has nothing for"):
        official_generator(CASE, {"mapping.fc0.weight": torch.zeros(16, 16)})
