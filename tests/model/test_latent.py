import pytest
import torch

from gendef.errors import InputError, ModelError
from gendef.model.latent import LatentImages
from gendef.model.latent_files import save_autoencoder
from gendef.networks.autoencoder import Autoencoder, AutoencoderConfig
from gendef.networks.latent_prior import LatentPrior, LatentPriorConfig


@pytest.fixture
def images():
    """Random weights everywhere."""
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderConfig(2, (4, 6, 8), (1, 1), (1, 1, 1)))
    prior = LatentPrior(LatentPriorConfig(channels=2, size=4, patch=1, widths=(8, 8), attention=(False, True)))
    for network in (autoencoder, prior):
        for parameter in network.parameters():
            parameter.data = torch.randn_like(parameter) * 0.3
    return LatentImages(autoencoder, prior, {"fps": 12.5})


def test_the_same_seed_gives_the_same_image(images):
    first, second = images.image(3), images.image(3)
    assert torch.equal(first, second)
    assert first.shape == (3, 32, 32) and first.abs().max() <= 1
    assert not torch.allclose(first, images.image(4))


def test_truncation_scales_the_noise(images):
    assert torch.equal(images.latents(1, truncation=0), images.latents(2, truncation=0))
    assert not torch.equal(images.latents(1, truncation=0.5), images.latents(1))


def test_a_saved_model_gives_the_same_images(images, tmp_path):
    images.save_pretrained(tmp_path / "model")
    loaded = LatentImages.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.image(5), images.image(5))
    assert loaded.info == {"fps": 12.5} and loaded.fingerprint == images.fingerprint


def test_half_precision_gives_nearly_the_same_images(images, tmp_path):
    images.save_pretrained(tmp_path / "full")
    images.save_pretrained(tmp_path / "half", half=True)
    full, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.7 * full
    loaded = LatentImages.from_pretrained(tmp_path / "half")
    assert torch.allclose(loaded.image(5), images.image(5), atol=0.05)


def test_an_autoencoder_alone_makes_no_images(images, tmp_path):
    save_autoencoder(tmp_path / "a", images.autoencoder, {})
    with pytest.raises(ModelError, match="prior"):
        LatentImages.from_pretrained(tmp_path / "a")


def test_impossible_numbers(images):
    with pytest.raises(InputError, match=r"2\.5"):
        images.image(0, truncation=2.5)
    with pytest.raises(InputError, match="0"):
        images.image(0, steps=0)
