import pytest
import torch

from gendef.errors import ConfigError, InputError
from gendef.networks.autoencoder import Autoencoder, AutoencoderConfig

TINY = AutoencoderConfig(latent_channels=2, widths=(4, 6, 8), encoder_blocks=(1, 1), decoder_blocks=(1, 1, 1))


@pytest.fixture
def autoencoder():
    """Random weights everywhere: zeros at the end of blocks would hide what they reach."""
    torch.manual_seed(0)
    network = Autoencoder(TINY).double().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2)
    return network


def test_shapes_and_bounds(autoencoder):
    latents = autoencoder.encode(100 * torch.randn(2, 3, 24, 40, dtype=torch.float64))
    assert latents.shape == (2, 2, 3, 5)
    assert latents.abs().max() <= 1
    assert autoencoder.decode(latents).shape == (2, 3, 24, 40)


def test_half_precision_ends_in_float32(autoencoder):
    network = autoencoder.bfloat16()
    latents = network.encode(torch.zeros(1, 3, 16, 16, dtype=torch.bfloat16))
    assert latents.dtype == network.decode(latents.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("tile", [1, 5, 8, 64])
def test_tiles_are_the_whole(autoencoder, tile):
    latents = torch.randn(2, 2, 19, 14, dtype=torch.float64)
    whole = autoencoder.decode(latents)
    assert torch.allclose(autoencoder.decode_tiled(latents, tile), whole, atol=1e-12)


def test_reach_is_how_far_a_latent_is_seen(autoencoder):
    side = 2 * autoencoder.reach + 3
    latents = torch.zeros(1, 2, side, side, dtype=torch.float64)
    changed = latents.clone()
    changed[:, :, side // 2, side // 2] = 5.0
    seen = (autoencoder.decode(changed) - autoencoder.decode(latents)).abs().amax(dim=(0, 1)) > 0
    rows = torch.nonzero(seen.any(dim=1)).flatten() // 8
    farthest = max(side // 2 - int(rows.min()), int(rows.max()) - side // 2)
    assert farthest <= autoencoder.reach < farthest + 2


def test_noise_is_added_to_the_latents(autoencoder):
    images, noise = torch.rand(1, 3, 16, 16, dtype=torch.float64), torch.full((1, 2, 2, 2), 0.3, dtype=torch.float64)
    expected = autoencoder.decode(autoencoder.encode(images) + noise)
    assert torch.equal(autoencoder(images, noise), expected)
    assert not torch.equal(autoencoder(images), expected)


@pytest.mark.parametrize("shape", [(1, 3, 16, 12), (1, 3, 20, 16), (1, 1, 16, 16), (3, 16, 16)])
def test_images_of_other_shapes(autoencoder, shape):
    with pytest.raises(InputError, match=str(shape[-1])):
        autoencoder.encode(torch.zeros(shape, dtype=torch.float64))


def test_latents_of_other_shapes(autoencoder):
    with pytest.raises(InputError, match="5"):
        autoencoder.decode(torch.zeros(1, 5, 4, 4, dtype=torch.float64))
    with pytest.raises(InputError, match="0"):
        autoencoder.decode_tiled(torch.zeros(1, 2, 4, 4, dtype=torch.float64), tile=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_channels": 0},
        {"widths": (4, 6)},
        {"widths": (4, 6, 0)},
        {"widths": (4, 6, 8.5)},
        {"encoder_blocks": (1, -1)},
        {"decoder_blocks": (1, 1)},
    ],
)
def test_impossible_configurations(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        AutoencoderConfig(**changes)
