"""Shared fixtures: tiny models and clips that need no files outside the repository."""

import pytest
import torch

from gendef.networks.canonical_generator import CanonicalConfig
from gendef.networks.deformation_generator import DeformationConfig
from gendef.networks.generator import (
    Generator,
    GeneratorConfig,
)
from gendef.networks.motion_encoder import MotionConfig

torch.set_num_threads(1)


def tiny_config(**options):
    return GeneratorConfig(
        resolution=16,
        z_dim=16,
        w_dim=16,
        canonical=CanonicalConfig(kind="stylegan2", channel_base=128, channel_max=16),
        motion=MotionConfig(noise_dim=16, num_features=8, kernel_size=3),
        deformation=DeformationConfig(channel_base=128, channel_max=16, condition_dim=4, init="xavier"),
        **options,
    )


@pytest.fixture(autouse=True)
def memory_as_it_is(monkeypatch):
    """The program's settings for its process would stay for the tests after it."""
    monkeypatch.setattr("gendef.cli.main.keep_freed_memory", lambda: False)


@pytest.fixture
def tiny_generator():
    """An untrained 16-pixel generator whose fields move from the start."""
    torch.manual_seed(0)
    return Generator(tiny_config()).eval()


@pytest.fixture
def model_folder(tmp_path, tiny_generator):
    """A saved model folder."""
    from gendef.model.checkpoint import save_generator

    save_generator(tmp_path / "model", tiny_generator, {"fps": 12.5})
    return tmp_path / "model"
