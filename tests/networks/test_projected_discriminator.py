import pytest
import torch

from gendef.errors import ConfigError
from gendef.networks.discriminator_config import ProjectedConfig
from gendef.networks.efficientnet_lite0 import EfficientNetFeatures
from gendef.networks.projected_discriminator import PatchHead, ProjectedDiscriminator, SpectralConv2d


@pytest.fixture(scope="module")
def features():
    """The architecture with random weights: these tests need no pretrained file."""
    torch.manual_seed(0)
    network = EfficientNetFeatures()
    for buffer in network.buffers():
        buffer.normal_(0, 0.1) if buffer.ndim == 1 else buffer.normal_(0, buffer[0].numel() ** -0.5)
    return network.eval()


def discriminator(features, **options):
    torch.manual_seed(1)
    return ProjectedDiscriminator(
        ProjectedConfig(feature_size=64, mixed_channels=8, head_channels=8, **options), features
    )


def test_spectral_convolution_has_unit_norm():
    torch.manual_seed(0)
    layer = SpectralConv2d(4, 6, 3, padding=1)
    with torch.no_grad():
        layer.weight.normal_()
        for _ in range(50):
            v = torch.nn.functional.normalize(layer.weight.flatten(1).t() @ layer.u, dim=0)
            layer.u.copy_(torch.nn.functional.normalize(layer.weight.flatten(1) @ v, dim=0))
    layer.eval()
    impulse = torch.zeros(1, 4, 3, 3)
    impulse[0, 2, 1, 1] = 1.0
    scaled = layer(impulse)[0] - layer.bias[:, None, None]
    largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
    torch.testing.assert_close(scaled, layer.weight[:, 2].flip(1, 2) / largest, atol=1e-4, rtol=1e-3)


def test_still_clips_start_with_their_images_logits(features):
    critic = discriminator(features)
    image = torch.rand(2, 1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        for head in critic.image_head:
            head.first.weight.normal_()
    critic.start_video_heads()
    critic.eval()
    clip, times = image.expand(-1, 3, -1, -1, -1), torch.tensor([[0.0, 4, 11]]).repeat(2, 1)
    torch.testing.assert_close(critic(clip, times), critic(image), atol=1e-5, rtol=1e-4)


def test_order_and_times_of_frames_matter(features):
    critic = discriminator(features).eval()
    for head in critic.video_head:
        torch.nn.init.normal_(head.condition.weight)
    clip, times = torch.rand(1, 3, 3, 64, 64), torch.tensor([[0.0, 4, 11]])
    base = critic(clip, times)
    assert not torch.allclose(critic(clip.flip(1), times), base)
    assert not torch.allclose(critic(clip, times * 2), base)
    torch.testing.assert_close(critic(clip, times + 50), base)


def test_frozen_features_are_neither_saved_nor_trained(features):
    critic = discriminator(features)
    assert not any("stem" in name or "stages" in name for name in critic.state_dict())
    trained = {name.split(".")[0] for name, p in critic.named_parameters() if p.requires_grad}
    assert trained == {"image_head", "video_head"}


def test_mixing_is_fixed_by_its_seed(features):
    first, second = discriminator(features), discriminator(features)
    other = discriminator(features, mixing_seed=1)
    assert torch.equal(first.mix_channels[0].weight, second.mix_channels[0].weight)
    assert not torch.equal(first.mix_channels[0].weight, other.mix_channels[0].weight)


def test_gradients_reach_the_frames(features):
    frames = (torch.rand(1, 1, 3, 64, 64) * 2 - 1).requires_grad_()
    discriminator(features)(frames).sum().backward()
    assert frames.grad is not None and frames.grad.abs().sum() > 0


def test_labels_condition_the_heads(features):
    critic = discriminator(features, num_classes=2).eval()
    frames = torch.rand(1, 1, 3, 64, 64)
    one, two = critic(frames, None, torch.tensor([[1.0, 0]])), critic(frames, None, torch.tensor([[0.0, 1]]))
    assert not torch.allclose(one, two)


def test_other_sizes_and_frame_counts(features):
    critic = discriminator(features)
    assert critic(torch.rand(2, 1, 3, 32, 32)).shape == critic(torch.rand(2, 1, 3, 100, 100)).shape
    with pytest.raises(ValueError, match="clips of 3 frames"):
        critic(torch.rand(1, 2, 3, 64, 64), torch.tensor([[0.0, 1.0]]))
    with pytest.raises(ConfigError, match="feature_size"):
        ProjectedConfig(feature_size=70)


def test_head_on_the_smallest_map():
    assert PatchHead(3, 8, 8)(torch.rand(2, 8, 3, 3)).shape == (2, 9)
