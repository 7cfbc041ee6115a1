"""The registry chooses between plain and fast forms; the whole program gives the same values with either."""

import pytest
import torch

from gendef.data.clips import ClipBatch
from gendef.errors import ConfigError
from gendef.kernels import convolution, registry
from gendef.kernels.convolution import conv2d
from gendef.kernels.filtered_leaky_relu import filtered_leaky_relu
from gendef.kernels.registry import FastForm, Kernel, kernels, plain_forms
from gendef.model.gendef import GenDeF
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.discriminator_config import DiscriminatorConfig
from gendef.networks.generator import Generator
from gendef.networks.generator_config import DeformationConfig, GeneratorConfig
from gendef.training.config import FinetuneConfig, StageConfig, TrainConfig
from gendef.training.discriminators import build_discriminator
from gendef.training.stages import build_stage


@pytest.fixture
def double(monkeypatch):
    """A kernel whose fast form takes even numbers only."""
    monkeypatch.setattr(registry, "_kernels", dict(registry._kernels))
    fast = FastForm("shift", lambda x: ("fast", x << 1), lambda x: x % 2 == 0)
    return Kernel("double", lambda x: ("plain", 2 * x), fast)


def test_the_fast_form_is_taken_where_it_suits(double):
    assert kernels()["double"] is double
    assert double(4) == ("fast", 8) and double(3) == ("plain", 6)
    with plain_forms():
        assert double(4) == ("plain", 8)
    with plain_forms("conv2d"):
        assert double(4) == ("fast", 8)
        with plain_forms("double"):
            assert double(4) == ("plain", 8)
    assert double(4) == ("fast", 8)
    with pytest.raises(KeyError), plain_forms("triple"):
        pass
    assert double(4) == ("fast", 8)


def test_a_missing_package_is_silent_and_a_broken_one_is_a_warning(double, monkeypatch, recwarn):
    def missing(name):
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    def broken(name):
        raise ImportError("numba needs another numpy")

    double.forms = (FastForm("loops", "cpu.loops:double", lambda x: True),)
    monkeypatch.setattr(registry.importlib, "import_module", missing)
    assert double(4) == ("plain", 8) and not recwarn.list
    double.forms = (FastForm("loops", "cpu.loops:double", lambda x: True),)
    monkeypatch.setattr(registry.importlib, "import_module", broken)
    with pytest.warns(UserWarning, match="numba needs another numpy"):
        assert double(4) == ("plain", 8)
    assert double(6) == ("plain", 12)  # tried once


@pytest.mark.parametrize(("value", "off"), [("plain", True), ("", False), ("fast", False)])
def test_the_environment_turns_all_fast_forms_off(monkeypatch, value, off):
    monkeypatch.setenv(registry.VARIABLE, value)
    monkeypatch.setattr(registry, "_plain", registry._from_environment())
    x, weight = torch.zeros(2, 128, 32, 32), torch.zeros(128, 128, 3, 3)
    assert (conv2d.fast(x, weight, 1) is None) == off
    assert (filtered_leaky_relu.fast(x, torch.zeros(40, 32), torch.zeros(16, 40), 1.0, 0.2, None) is None) == off


def test_another_value_in_the_environment_is_an_error(monkeypatch):
    monkeypatch.setenv(registry.VARIABLE, "slow")
    with pytest.raises(ConfigError, match="slow"):
        registry._from_environment()


def _config() -> TrainConfig:
    stage = {"images": 8, "batch_size": 2, "augment": "none", "r1_interval": 1}
    return TrainConfig(
        generator=GeneratorConfig(
            resolution=32,
            z_dim=32,
            w_dim=32,
            canonical=CanonicalConfig(channel_base=1024, channel_max=24, mtm_sizes=(36,)),
            deformation=DeformationConfig(
                channel_base=1024, channel_max=24, condition_dim=16, init="xavier", mtm_resolutions=(8,)
            ),
        ),
        stylegan_v=DiscriminatorConfig(resolution=32, channel_base=1024, channel_max=32, time_dim=4),
        pretrain=StageConfig(**stage),
        finetune=FinetuneConfig(**stage),
        precision="float32",
    )


@pytest.fixture
def every_layer(monkeypatch):
    """Winograd's convolutions for few channels and small maps, too."""
    monkeypatch.setattr(convolution, "WINOGRAD_CHANNELS", 16)
    monkeypatch.setattr(convolution, "WINOGRAD_TILES", 1)


@pytest.mark.usefixtures("every_layer")
def test_sampled_videos_are_the_same():
    """Winograd's rounding is the largest difference: 1e-4 of frames in [-1, 1] is a hundredth of a grey level."""
    torch.manual_seed(0)
    model = GenDeF(Generator(_config().generator))
    fast = model.sample(seed=3, num_frames=3)
    with plain_forms():
        plain = model.sample(seed=3, num_frames=3)
    assert not torch.equal(fast.canonical, plain.canonical), "no kernel was used"
    torch.testing.assert_close(fast.canonical, plain.canonical, atol=1e-4, rtol=0)
    torch.testing.assert_close(fast.render(), plain.render(), atol=1e-4, rtol=0)


@pytest.mark.usefixtures("every_layer")
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_training_steps_are_the_same(stage):
    """Losses agree to 1e-3; gradients have kinks, at which rounding decides, hence a bound on their norm."""

    def step() -> tuple[dict[str, float], torch.Tensor]:
        torch.manual_seed(0)
        config = _config()
        made = build_stage(stage, config, Generator(config.generator), build_discriminator(config), torch.device("cpu"))
        video = torch.randint(256, (2, made.num_frames, 3, 32, 32), dtype=torch.uint8)
        times = torch.arange(made.num_frames * 1.0).expand(2, -1)
        metrics = made.step(ClipBatch(video, times, None), times)
        gradients = [p.grad.flatten() for p in made.generator.parameters() if p.grad is not None]
        return {name: float(value) for name, value in metrics.items()}, torch.cat(gradients)

    fast, gradient = step()
    with plain_forms():
        plain, expected = step()
    assert not torch.equal(gradient, expected), "no kernel was used"
    for name, value in plain.items():
        assert fast[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    assert float((gradient - expected).norm()) < 1e-2 * float(expected.norm())
