import pytest
import torch

from gendef.training.ada import AdaptiveAugment, resample
from gendef.training.diffaug import diffaug


def seeded():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_all_frames_of_a_clip_are_changed_alike(strength):
    frame = torch.rand(4, 1, 3, 16, 16) * 2 - 1
    clip = frame.expand(-1, 3, -1, -1, -1)
    augment = AdaptiveAugment()
    augment.p.fill_(strength)
    for changed in (augment(clip, seeded()), diffaug(clip, seeded())):
        assert not torch.allclose(changed, clip)
        torch.testing.assert_close(changed[:, 0], changed[:, 2])


def test_strength_zero_is_the_exact_identity():
    clip = torch.randn(2, 3, 3, 8, 8)
    assert AdaptiveAugment()(clip, seeded()) is clip


def test_random_numbers_come_from_the_generator_alone():
    clip = torch.randn(2, 1, 3, 16, 16)
    augment = AdaptiveAugment()
    augment.p.fill_(0.8)
    assert torch.equal(augment(clip, seeded()), augment(clip, seeded()))
    assert torch.equal(diffaug(clip, seeded()), diffaug(clip, seeded()))


def test_strength_follows_the_discriminator():
    augment = AdaptiveAugment()
    for _ in range(50):
        augment.update(torch.tensor(1.0), 10, 0.6, 1000)
    assert augment.p.item() == pytest.approx(0.5, abs=0.1)
    for _ in range(100):
        augment.update(torch.tensor(0.0), 10, 0.6, 1000)
    assert augment.p.item() == 0


def test_resampling_known_maps():
    clip = torch.randn(1, 2, 3, 8, 8)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))[None]
    torch.testing.assert_close(resample(clip, mirror), clip.flip(-1))
    quarter = torch.tensor([[[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]])
    torch.testing.assert_close(resample(clip, quarter), clip.rot90(-1, dims=(-2, -1)), atol=1e-5, rtol=0)
    right = torch.eye(3)[None].clone()
    right[0, 0, 2] = 2 * 2 / 8
    torch.testing.assert_close(resample(clip, right)[..., :6], clip[..., 2:], atol=1e-5, rtol=0)


def test_gradients_of_gradients_exist():
    torch.manual_seed(0)
    clip = torch.randn(1, 1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    turn = torch.tensor([[[0.8, -0.6, 0.1], [0.6, 0.8, -0.2], [0, 0, 1]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: resample(x, turn), clip)
    assert torch.autograd.gradgradcheck(lambda x: resample(x, turn) ** 2, clip)
