import pytest
import torch

from gendef.errors import ConfigError, InputError
from gendef.networks.latent_prior import LatentPrior, LatentPriorConfig, logit_normal_times, time_features

TINY = LatentPriorConfig(channels=2, size=8, patch=2, widths=(8, 16), attention=(False, True))


@pytest.fixture
def prior():
    torch.manual_seed(0)
    network = LatentPrior(TINY).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2)
    return network


class StraightFlow(LatentPrior):
    """The exact velocity of a flow to one point: (target - x) / (1 - t), constant along each path."""

    target = 0.7

    def forward(self, x, times):
        return (self.target - x) / (1 - times[:, None, None, None]).clamp_min(1e-2)


class Constant(LatentPrior):
    """The same velocity everywhere: from noise 0 the flow ends at it."""

    value = 0.7

    def forward(self, x, times):
        return torch.full_like(x, self.value)


class Oscillation(LatentPrior):
    """dx/dt = x cos(4 t), so x(1) = x(0) exp(sin(4) / 4)."""

    def forward(self, x, times):
        return x * torch.cos(4 * times)[:, None, None, None]


def test_velocity_has_the_shape_of_latents_and_depends_on_the_time(prior):
    x = torch.randn(3, 2, 8, 8)
    early, late = prior(x, torch.full((3,), 0.1)), prior(x, torch.full((3,), 0.9))
    assert early.shape == x.shape
    assert not torch.allclose(early, late)


def test_images_of_a_batch_are_independent(prior):
    x, times = torch.randn(3, 2, 8, 8), torch.tensor([0.2, 0.5, 0.9])
    together = prior(x, times)
    alone = torch.cat([prior(x[i : i + 1], times[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_an_untrained_prior_predicts_no_velocity():
    assert torch.equal(LatentPrior(TINY)(torch.randn(1, 2, 8, 8), torch.tensor([0.5])), torch.zeros(1, 2, 8, 8))


def test_loss_of_the_right_velocity_is_zero():
    prior = StraightFlow(TINY)
    noise, times = torch.randn(4, 2, 8, 8), torch.tensor([0.0, 0.3, 0.6, 0.9])
    assert torch.allclose(prior.loss(torch.full_like(noise, 0.7), noise, times), torch.zeros(4), atol=1e-8)


def test_loss_of_no_velocity_is_the_mean_square_of_the_path():
    noise, latents = torch.randn(2, 2, 8, 8), torch.randn(2, 2, 8, 8)
    expected = ((latents - noise) ** 2).mean(dim=(1, 2, 3))
    assert torch.allclose(LatentPrior(TINY).loss(latents, noise, torch.tensor([0.1, 0.8])), expected)


def test_sampling_is_of_second_order():
    prior, noise = Oscillation(TINY), torch.full((1, 2, 8, 8), 0.5)
    exact = 0.5 * torch.exp(torch.sin(torch.tensor(4.0)) / 4)
    errors = [float((prior.sample(noise, steps) - exact).abs().max()) for steps in (8, 16, 32)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.3)


def test_samples_are_in_the_units_of_the_autoencoder_and_bounded():
    flow, noise = Constant(TINY), torch.zeros(1, 2, 8, 8)
    flow.mean.copy_(torch.tensor([0.1, -0.9])[:, None, None])
    flow.std.copy_(torch.tensor([0.2, 0.5])[:, None, None])
    made = flow.sample(noise, steps=3)
    assert torch.allclose(made[:, 0], torch.full((1, 8, 8), 0.1 + 0.2 * 0.7))
    assert torch.allclose(made[:, 1], torch.full((1, 8, 8), -0.9 + 0.5 * 0.7))
    assert torch.allclose(flow.normalise(made), torch.full_like(made, 0.7), atol=1e-6)
    flow.value = 50.0
    assert flow.sample(noise, steps=3).abs().max() == 1


def test_times_are_logit_normal():
    times = logit_normal_times(20_000, torch.Generator().manual_seed(0))
    logits = torch.logit(times)
    assert float(logits.mean()) == pytest.approx(0, abs=0.03)
    assert float(logits.std()) == pytest.approx(1, abs=0.03)


def test_time_features_tell_times_apart():
    features = time_features(torch.linspace(0, 1, 50), 16)
    assert features.shape == (50, 16)
    assert torch.cdist(features, features).fill_diagonal_(1).min() > 0.01


def test_wrong_noise(prior):
    with pytest.raises(InputError, match="16"):
        prior.sample(torch.randn(1, 2, 16, 16))
    with pytest.raises(InputError, match="0"):
        prior.sample(torch.randn(1, 2, 8, 8), steps=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 0},
        {"size": 30},
        {"patch": 3},
        {"widths": (12, 16, 16)},
        {"widths": ()},
        {"attention": (True,)},
        {"attention": (1, 0, 0)},
        {"blocks": 0},
    ],
)
def test_impossible_configurations(changes):
    with pytest.raises(ConfigError, match=str(next(iter(changes.values()))).replace("(", r"\(").replace(")", r"\)")):
        LatentPriorConfig(**changes)
