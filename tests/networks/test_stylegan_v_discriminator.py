import pytest
import torch

from gendef.networks.discriminator_config import DiscriminatorConfig
from gendef.networks.stylegan_v_discriminator import Discriminator, minibatch_std, temporal_shift

CONFIG = DiscriminatorConfig(resolution=32, channel_base=256, channel_max=32, time_dim=8)


def test_temporal_shift_by_hand():
    x = torch.arange(2 * 3 * 8, dtype=torch.float32).reshape(6, 8, 1, 1)
    shifted = temporal_shift(x, 3).reshape(2, 3, 8)
    frames = x.reshape(2, 3, 8)
    assert torch.equal(shifted[:, :2, 0], frames[:, 1:, 0]) and (shifted[:, 2, 0] == 0).all()
    assert torch.equal(shifted[:, 1:, 1], frames[:, :2, 1]) and (shifted[:, 0, 1] == 0).all()
    assert torch.equal(shifted[:, :, 2:], frames[:, :, 2:])
    assert torch.equal(temporal_shift(x, 1), x)


def test_minibatch_std_by_hand():
    x = torch.randn(4, 3, 2, 2)
    plane = minibatch_std(x, 2)[:, 3]
    for i in range(2):  # samples i and i + 2 form a group
        expected = (x[[i, i + 2]].var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(plane[i], expected.expand(2, 2))
        torch.testing.assert_close(plane[i + 2], expected.expand(2, 2))


def test_clips_and_single_frames_share_all_weights():
    torch.manual_seed(0)
    discriminator = Discriminator(CONFIG)
    clip, times = torch.randn(4, 3, 3, 32, 32), torch.tensor([[0.0, 5, 9]]).repeat(4, 1)
    assert discriminator(clip, times).shape == (4,)
    assert discriminator(clip[:, :1]).shape == (4,)
    discriminator(clip[:, :1]).sum().backward()
    assert all(p.grad is not None for p in discriminator.parameters())


def test_time_differences_matter_and_time_origin_does_not():
    torch.manual_seed(0)
    discriminator = Discriminator(CONFIG).eval()
    clip, times = torch.randn(2, 3, 3, 32, 32), torch.tensor([[0.0, 5, 9]]).repeat(2, 1)
    base = discriminator(clip, times)
    torch.testing.assert_close(discriminator(clip, times + 100), base)
    assert not torch.allclose(discriminator(clip, times * 2), base)


def test_labels_and_other_frame_counts():
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig(resolution=32, channel_base=256, num_classes=2, time_dim=8))
    clip, times = torch.randn(2, 3, 3, 32, 32), torch.tensor([[0.0, 5, 9]]).repeat(2, 1)
    first = discriminator(clip, times, torch.eye(2)[[0, 0]])
    assert not torch.allclose(first, discriminator(clip, times, torch.eye(2)[[1, 1]]))
    with pytest.raises(ValueError, match="1 or 3 frames"):
        discriminator(clip[:, :2], times[:, :2])
