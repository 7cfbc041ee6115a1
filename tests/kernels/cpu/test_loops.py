"""Whole generators through the compiled loops, with and without gradients, beside torch's operators in float64."""

import pytest
import torch

from gendef.kernels import convolution
from gendef.kernels.cpu import filtered_leaky_relu, winograd
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.generator import Generator
from gendef.networks.generator_config import DeformationConfig, GeneratorConfig


@pytest.fixture(autouse=True)
def _loops_for_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "WINOGRAD_CHANNELS", 16)
    monkeypatch.setattr(convolution, "WINOGRAD_TILES", 1)
    monkeypatch.setattr(winograd, "BLOCK_TILES", 7)
    monkeypatch.setattr("gendef.kernels.cpu.threads.LEAST_OPERATIONS", 0)


def _generator(kind: str, mtm: tuple[int, ...]) -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(
        resolution=32,
        z_dim=32,
        w_dim=32,
        canonical=CanonicalConfig(
            kind=kind,  # type: ignore[arg-type]
            channel_base=1024,
            channel_max=24,
            mtm_sizes=mtm,
            conv_clamp=2.0,
        ),
        deformation=DeformationConfig(
            channel_base=1024,
            channel_max=24,
            condition_dim=16,
            init="xavier",
            mtm_resolutions=(8,) if mtm else (),
            conv_clamp=2.0,
        ),
    )
    return Generator(config).eval()


def _inputs(generator: Generator, videos: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    shapes = (videos, 32), (videos, 32), (videos, generator.motion_noise_length(9), generator.motion_dim)
    times = torch.tensor([[0, 4.5, 9.0]] * videos)
    return [*(torch.randn(*shape, generator=random) for shape in shapes), times]


@pytest.mark.parametrize("videos", [1, 2])
@pytest.mark.parametrize(
    ("kind", "mtm"), [("stylegan3", ()), ("stylegan3", (36,)), ("stylegan2", ()), ("stylegan2", (8,))]
)
def test_videos_and_gradients(kind: str, mtm: tuple[int, ...], videos: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = _generator(kind, mtm)
    inputs = _inputs(generator, videos)
    calls: set[object] = set()
    places = [(winograd, "convolve_transformed")]
    if kind == "stylegan3":
        places.append((filtered_leaky_relu, "apply_layer"))
    for place in places:
        original = getattr(*place)
        monkeypatch.setattr(*place, lambda *a, p=place, f=original, **k: calls.add(p) or f(*a, **k))
    weight = generator.deformation.blocks[-1].conv0.conv.weight  # type: ignore[union-attr, operator]

    def video_and_gradient(values: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        video = generator(*values).video
        return video, torch.autograd.grad(video.square().sum(), weight)[0]

    with torch.no_grad():
        sampled = generator(*inputs).video
    assert calls == set(places)
    calls.clear()
    trained, gradient = video_and_gradient(inputs)
    assert calls == set(places)
    generator.double()
    exact, exact_gradient = video_and_gradient([value.double() for value in inputs])
    torch.testing.assert_close(sampled.double(), exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(trained.double(), exact, atol=1e-4, rtol=0)
    assert float((gradient - exact_gradient).norm()) < 1e-3 * float(exact_gradient.norm())
