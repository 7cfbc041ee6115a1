"""Shared fixtures: tiny models and clips that need no files outside the repository."""

import pytest
import torch

from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.generator import Generator
from gendef.networks.generator_config import DeformationConfig, GeneratorConfig, MotionConfig

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


def _image(height, width, seed=0):
    noise = torch.randn(1, 3, 4, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")[0].mul(0.4).clamp(-0.9, 0.9)


def _panning(frames, seed, height=32, width=40, step=0.02):
    """A clip whose image moves to the left by `step` of half its width a frame."""
    from gendef import CanonicalVideo

    field = torch.zeros(frames, height, width, 2)
    field[..., 0] = step * torch.arange(frames)[:, None, None]
    return CanonicalVideo(_image(height, width, seed), field, 10)


def layered_clip():
    """8 frames of 32x40: a background, and a square that moves with a field of its own from frame 1 to 6."""
    from gendef.video.layer import Layer
    from gendef.video.layered_video import LayeredVideo

    alpha = torch.zeros(6, 32, 40, dtype=torch.uint8)
    alpha[:, 8:24, 10:28] = 255
    layers = [Layer(_panning(8, 0)), Layer(_panning(6, 1, step=-0.02), alpha, 1, "object 1")]
    return LayeredVideo(layers, 10, info={"kind": "fit"}, report={"psnr": 30.0})


def segmented_clip():
    """10 frames of 32x40 in two segments of 6, the second of which fades in over two frames, as a long fit's do."""
    from gendef.video.layer import Layer
    from gendef.video.layered_video import LayeredVideo

    fade = torch.full((6, 32, 40), 255, dtype=torch.uint8)
    fade[0], fade[1] = 85, 170
    second = _panning(6, 0).with_canonical(_image(32, 40, 0).roll(2, dims=-1))
    return LayeredVideo([Layer(_panning(6, 0)), Layer(second, fade, 4)], 10, info={"kind": "fit"})


def generated_clip():
    """6 frames of 16x16 from an untrained generator, which is not saved."""
    from gendef.model.gendef import GenDeF

    torch.manual_seed(0)
    return GenDeF(Generator(tiny_config()).eval()).sample(seed=3, num_frames=6)


CLIPS = {"generated": generated_clip, "layered": layered_clip, "segmented": segmented_clip}


@pytest.fixture(scope="session")
def clip_folders(tmp_path_factory):
    """Saved clips of every kind, by its name; tests must not write into them."""
    folder = tmp_path_factory.mktemp("clips")
    for kind, make in CLIPS.items():
        make().save(folder / kind)
    return {kind: folder / kind for kind in CLIPS}


@pytest.fixture(params=list(CLIPS))
def any_clip(request, clip_folders):
    """The folder of a clip of each kind in turn."""
    return clip_folders[request.param]
