import math

import pytest
import torch

from gendef.geometry import identity_grid
from gendef.geometry.regularization import (
    edge_weights,
    folding_penalty,
    slowness_penalty,
    spatial_smoothness,
    temporal_smoothness,
)
from gendef.training.losses import (
    discriminator_loss,
    generator_loss,
    r1_penalty,
)


def test_adversarial_losses_by_hand():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 0.5])
    assert discriminator_loss(real, fake, "hinge").item() == pytest.approx((0 + 1) / 2 + (0 + 1.5) / 2)
    assert generator_loss(fake, "hinge").item() == pytest.approx(1.25)
    softplus = [math.log1p(math.exp(x)) for x in (-2.0, 0.0, -3.0, 0.5)]
    assert discriminator_loss(real, fake, "logistic").item() == pytest.approx(sum(softplus) / 2)
    expected = (math.log1p(math.exp(3.0)) + math.log1p(math.exp(-0.5))) / 2
    assert generator_loss(fake, "logistic").item() == pytest.approx(expected)


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    weight = torch.randn(12)
    x = torch.randn(5, 12, requires_grad=True)
    assert r1_penalty(x @ weight, [x]).item() == pytest.approx(weight.square().sum().item(), rel=1e-5)
    patches = torch.stack((x @ weight, x @ weight), dim=1)
    assert r1_penalty(patches, [x]).item() == pytest.approx(weight.square().sum().item(), rel=1e-5)


def test_smooth_motion_costs_nothing_and_a_jerk_costs_its_size():
    frames = torch.zeros(1, 3, 8, 8)
    steady = torch.arange(3.0)[None, :, None, None, None] * torch.full((1, 1, 8, 8, 2), 0.1)
    assert temporal_smoothness(steady, frames).item() == pytest.approx(0, abs=1e-7)
    jerk = steady.clone()
    jerk[:, 2] += 0.05
    assert temporal_smoothness(jerk, frames).item() == pytest.approx(0.1, rel=1e-5)
    edges = torch.zeros(1, 3, 8, 8)
    edges[..., ::2] = 1.0
    assert temporal_smoothness(jerk, edges).item() < 0.02, "edges may move apart"


def test_edge_weights_are_one_on_flat_ground():
    image = torch.zeros(1, 3, 6, 6)
    image[..., 3:] = 1.0
    weights = edge_weights(image)[0]
    assert weights[0, 2].item() == pytest.approx(math.exp(-5))
    assert (weights[:, [0, 1, 3, 4, 5]] == 1).all()


def test_affine_fields_do_not_bend():
    grid = identity_grid(16, 16)
    affine = grid @ torch.tensor([[0.2, -0.4], [0.1, 0.3]]) + 0.5
    assert spatial_smoothness(affine[None, None]).item() == pytest.approx(0, abs=1e-8)
    assert spatial_smoothness((grid**2)[None, None]).item() > 1e-4


def test_only_folding_and_collapse_are_penalised():
    grid = identity_grid(16, 16)
    assert folding_penalty((0.5 * grid)[None, None]).item() == 0
    # Sampling that runs backwards at full speed along x has an area factor of -1.
    mirrored = torch.stack((-2 * grid[..., 0], torch.zeros(16, 16)), dim=-1)
    assert folding_penalty(mirrored[None, None]).item() == pytest.approx(1.2, rel=1e-4)


def test_only_too_slow_a_mean_is_pushed():
    moving = torch.zeros(2, 3, 8, 8, 2)
    moving[0, :, ..., 0] = torch.arange(3.0)[:, None, None] * 2 / 8  # one pixel a frame, the other video stands still
    assert slowness_penalty(moving, 0.5).item() == 0
    assert slowness_penalty(moving, 2.0).item() == pytest.approx((1 - 0.5 / 2) ** 2)
    still = torch.zeros(2, 3, 8, 8, 2)
    assert slowness_penalty(still, 2.0).item() == 1
    # The way out of a still video needs a direction that the field already has: its gradient is finite, not NaN.
    still.requires_grad_()
    slowness_penalty(still, 2.0).backward()
    assert torch.isfinite(still.grad).all()
