import pytest
import torch

from gendef.errors import ConfigError
from gendef.networks.baselines import BaselineGenerator, RecurrentMotion, build_generator
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.generator import Generator
from gendef.networks.generator_config import GeneratorConfig, MotionConfig

from ..conftest import tiny_config

RIVALS = ("stylegan-v", "stylesv-mtm", "mocogan")


def inputs(generator, batch=2, times=(0.0, 2.5, 9.0)):
    rows = generator.motion_noise_length(max(times))
    return (
        torch.randn(batch, generator.z_dim),
        torch.randn(batch, rows, generator.motion_dim),
        torch.tensor(times).expand(batch, -1),
    )


@pytest.mark.parametrize("model", RIVALS)
def test_frames_move_and_contents_differ(model):
    torch.manual_seed(0)
    generator = build_generator(tiny_config(model=model)).eval()
    assert isinstance(generator, BaselineGenerator)
    with torch.no_grad():
        video = generator(*inputs(generator))
    assert video.shape == (2, 3, 3, 16, 16) and torch.isfinite(video).all()
    assert (video[:, 0] - video[:, 2]).abs().mean() > 1e-4
    assert (video[0] - video[1]).abs().mean() > 1e-2


@pytest.mark.parametrize("model", RIVALS)
def test_a_frame_does_not_depend_on_the_others_that_are_asked_for(model):
    torch.manual_seed(0)
    generator = build_generator(tiny_config(model=model)).eval()
    z, noise, times = inputs(generator)
    with torch.no_grad():
        whole = generator(z, noise, times)
        alone = generator(z[:1], noise[:1, : generator.motion_noise_length(2.5)], times[:1, 1:2])
    torch.testing.assert_close(whole[:1, 1:2], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["stylegan2", "stylegan3"])
def test_stylesv_is_gendef_without_the_field(kind):
    """With the motion's part of the styles at zero every frame is the canonical image of the same weights."""
    torch.manual_seed(0)
    shape = {"resolution": 32, "z_dim": 16, "w_dim": 16, "motion": MotionConfig(8, 3, num_features=8)}
    canonical = CanonicalConfig(kind=kind, channel_base=256, channel_max=16)
    gendef = Generator(GeneratorConfig(canonical=canonical, **shape)).eval()
    baseline = BaselineGenerator(GeneratorConfig(model="stylesv-mtm", canonical=canonical, **shape)).eval()
    missing, unexpected = baseline.load_state_dict(gendef.state_dict(), strict=False)
    assert {name.split(".")[0] for name in missing} <= {"motion_style"}
    assert {name.split(".")[0] for name in unexpected} <= {"deformation", "motion_mapping"}
    with torch.no_grad():
        z, noise, times = inputs(baseline)
        moving = baseline(z, noise, times)
        baseline.motion_style.weight.zero_()
        video = baseline(z, noise, times)
        image = gendef.images(z)
    torch.testing.assert_close(video, image[:, None].expand_as(video), atol=1e-5, rtol=1e-4)
    assert (moving - video).abs().mean() > 1e-4


def test_recurrent_codes_equal_the_cell_run_by_hand():
    torch.manual_seed(0)
    config = MotionConfig(noise_dim=4, num_features=3)
    motion = RecurrentMotion(config)
    noise = torch.randn(1, motion.noise_length(2.25), 4)
    cell = torch.nn.LSTMCell(4, 6)
    with torch.no_grad():
        for name, value in motion.recurrence.named_parameters():
            getattr(cell, name.removesuffix("_l0")).copy_(value)
        state = (torch.tanh(motion.start(noise[:, 0])), torch.zeros(1, 6))
        codes = []
        for step in range(4):
            state = cell(noise[:, 1 + step], state)
            codes.append(state[0])
        seen = motion(noise, torch.tensor([[1.0, 2.25]]))[0]
    torch.testing.assert_close(seen[0], codes[1][0])
    torch.testing.assert_close(seen[1], 0.75 * codes[2][0] + 0.25 * codes[3][0])
    with pytest.raises(ValueError, match="rows of noise"):
        motion(noise[:, :3], torch.tensor([[2.25]]))


@pytest.mark.parametrize("model", RIVALS)
def test_gradients_reach_every_parameter(model):
    torch.manual_seed(0)
    generator = build_generator(tiny_config(model=model)).train()
    generator(*inputs(generator)).square().mean().backward()
    missing = [name for name, p in generator.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing
    own = [*generator.content_parameters(), *generator.motion_parameters()]
    assert len(own) == len({id(p) for p in own}) == len(list(generator.parameters()))


def test_impossible_configurations():
    with pytest.raises(ConfigError, match=r"generator\.model"):
        tiny_config(model="digan")
    with pytest.raises(ConfigError, match=r"shared_latent.* mocogan"):
        build_generator(tiny_config(model="mocogan", shared_latent=True))
