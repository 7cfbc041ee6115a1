import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gendef.bench.reference import direct_convolutions, literal_path
from gendef.kernels.cpu.winograd import conv2d
from gendef.networks.canonical_generator import CanonicalConfig
from gendef.networks.deformation_generator import DeformationConfig
from gendef.networks.generator import (
    Generator,
    GeneratorConfig,
)


@pytest.mark.parametrize(("kind", "mtm"), [("stylegan3", ()), ("stylegan3", (36,)), ("stylegan2", ())])
@pytest.mark.parametrize("videos", [1, 2])
def test_the_literal_path_gives_the_same_videos(kind, mtm, videos):
    torch.manual_seed(0)
    config = GeneratorConfig(
        resolution=32,
        z_dim=32,
        w_dim=32,
        canonical=CanonicalConfig(kind=kind, channel_base=256, channel_max=16, mtm_sizes=mtm),
        deformation=DeformationConfig(channel_base=256, channel_max=16, condition_dim=4, init="xavier"),
    )
    generator = Generator(config).eval().double()
    rows = generator.motion_noise_length(9)
    inputs = [torch.randn(videos, 32), torch.randn(videos, 32), torch.randn(videos, rows, 512)]
    inputs = [*(value.double() for value in inputs), torch.tensor([[0, 4.5, 9.0]] * videos).double()]
    with torch.no_grad():
        fast = generator(*inputs)
        with literal_path():
            literal = generator(*inputs)
        again = generator(*inputs)
    torch.testing.assert_close(literal.canonical, fast.canonical, atol=1e-6, rtol=0)
    torch.testing.assert_close(literal.video, fast.video, atol=1e-5, rtol=0)
    assert torch.equal(again.video, fast.video)


@torch.no_grad()
def test_direct_convolutions_take_the_products_of_their_definition():
    x, weight = torch.randn(1, 128, 32, 32), torch.randn(96, 128, 3, 3)

    def products() -> int:
        with FlopCounterMode(display=False) as counter:
            conv2d(x, weight, padding=1)
        return counter.get_total_flops()

    with direct_convolutions():
        assert products() == 2 * 32**2 * 9 * 128 * 96
    # Afterwards Winograd's again: 36 products for 16 results.
    assert products() == 2 * 8**2 * 36 * 128 * 96
