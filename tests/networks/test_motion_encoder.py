import math

import pytest
import torch

from gendef.errors import ConfigError
from gendef.networks.generator_config import MotionConfig
from gendef.networks.motion_encoder import MotionEncoder

CONFIG = MotionConfig(noise_dim=8, kernel_size=3, distance=4, min_period=4, max_period=64, num_features=5)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return MotionEncoder(CONFIG).double().eval()


def written_out(encoder, noise, t):
    """The code at time t as the papers write it, for one video and in float64."""
    vectors = encoder.conv(noise.transpose(1, 2)).transpose(1, 2)[0]
    left = int(t // CONFIG.distance)
    u, v = vectors[left], vectors[left + 1]
    time = encoder.time_encoder
    width = math.sqrt(CONFIG.noise_dim)
    periods = [2 ** (6 - 4 * k / 4) for k in range(5)]  # 64 ... 4, even in log2, slowest first
    omega = torch.tensor([2 * math.pi / p for p in periods]).double()
    scale = 1 + torch.tanh(time.periods_predictor.weight @ u / width)
    phase = time.phase_predictor.weight @ u / width * torch.tensor([64 / p for p in periods]).double()

    def wave(x):
        angle = omega * scale * x + phase
        return torch.cat((angle.sin(), angle.cos()))

    start, share = left * CONFIG.distance, t / CONFIG.distance - left
    anchors = [time.aligners_predictor.weight @ vector / width for vector in (u, v)]
    drift = (1 - share) * wave(start) + share * wave(start + CONFIG.distance)
    return wave(t) - drift + (1 - share) * anchors[0] + share * anchors[1]


@pytest.mark.parametrize("t", [0.0, 1.0, 3.75, 4.0, 9.5, 21.0])
def test_code_equals_the_formula(encoder, t):
    noise = torch.randn(1, 16, 8).double()
    code = encoder(noise, torch.tensor([[t]]).double())[0, 0]
    torch.testing.assert_close(code, written_out(encoder, noise, t), atol=1e-5, rtol=1e-5)


def test_far_apart_times_equal_dense_times(encoder):
    noise = torch.randn(2, 60, 8).double()
    every = torch.arange(120.0).double().expand(2, -1)
    dense = encoder(noise, every)
    sparse = torch.tensor([[3.0, 117.0], [90.0, 5.0]]).double()
    picked = torch.stack([dense[b, sparse[b].long()] for b in range(2)])
    torch.testing.assert_close(encoder(noise, sparse), picked)


def test_codes_are_continuous_where_noise_vectors_meet(encoder):
    noise = torch.randn(1, 16, 8).double()
    codes = encoder(noise, torch.tensor([[8 - 1e-6, 8.0]]).double())[0]
    torch.testing.assert_close(codes[0], codes[1], atol=1e-4, rtol=0)


def test_noise_length_is_what_the_last_time_needs(encoder):
    for last in (0.0, 3.9, 4.0, 100.5):
        rows = encoder.noise_length(last)
        encoder(torch.randn(1, rows, 8).double(), torch.tensor([[last]]))
        with pytest.raises(ValueError, match="rows of motion noise"):
            encoder(torch.randn(1, rows - 1, 8).double(), torch.tensor([[last]]))


def test_bad_values():
    with pytest.raises(ConfigError, match="min_period"):
        MotionConfig(min_period=0)
    with pytest.raises(ValueError, match="negative"):
        MotionEncoder(CONFIG)(torch.randn(1, 16, 8), torch.tensor([[-1.0]]))
