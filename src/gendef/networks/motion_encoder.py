"""Motion noise to motion codes: acyclic positional encoding of time (StyleGAN-V, Skorokhodov et al. 2022)."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.networks.generator_config import MotionConfig
from gendef.networks.layers import LEAKY_SLOPE, EqualizedLinear
from gendef.runtime.devices import sent


class EqualizedConv1d(nn.Module):
    """Unpadded 1-D convolution with equalised weights and leaky ReLU, without the usual gain of sqrt(2)."""

    def __init__(self, channels: int, kernel_size: int, lr_multiplier: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, kernel_size) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.weight_gain = lr_multiplier / math.sqrt(channels * kernel_size)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C, N - kernel_size + 1)."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.leaky_relu(F.conv1d(x, weight * self.weight_gain, bias * self.bias_gain), LEAKY_SLOPE)


class TimeEncoder(nn.Module):
    """Acyclic positional encoding: waves whose speed and phase depend on the noise, aligned at the noise vectors."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.distance = config.distance
        count, width = config.num_features, config.noise_dim
        periods = 2.0 ** np.linspace(math.log2(config.max_period), math.log2(config.min_period), count)
        self.omega: Tensor
        self.phase_scale: Tensor
        self.register_buffer("omega", torch.from_numpy(2 * math.pi / periods).float(), persistent=False)
        self.register_buffer("phase_scale", torch.from_numpy(config.max_period / periods).float(), persistent=False)
        self.periods_predictor = EqualizedLinear(width, count, bias=False)
        self.phase_predictor = EqualizedLinear(width, count, bias=False)
        self.aligners_predictor = EqualizedLinear(width, 2 * count, bias=False)

    def forward(self, left: Tensor, right: Tensor, times: Tensor) -> Tensor:
        """u left and right of each time, (M, noise_dim), and times (M,) in frames -> codes (M, 2 * num_features)."""
        index = torch.floor(times / self.distance)
        time_left, time_right = index * self.distance, (index + 1) * self.distance
        share = ((times - time_left) / self.distance)[:, None]
        omega, phase_scale = self.omega.to(left.dtype), self.phase_scale.to(left.dtype)
        speed = omega * (1 + torch.tanh(self.periods_predictor(left)))
        phase = self.phase_predictor(left) * phase_scale

        def wave(t: Tensor) -> Tensor:
            angle = speed * t[:, None] + phase
            return torch.cat((torch.sin(angle), torch.cos(angle)), dim=1)

        drift = (1 - share) * wave(time_left) + share * wave(time_right)
        anchors = torch.lerp(self.aligners_predictor(left), self.aligners_predictor(right), share)
        return wave(times) - drift + anchors


class MotionEncoder(nn.Module):
    """Motion noise and times to motion codes; parameters carry the official names."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.Sequential(
            EqualizedConv1d(config.noise_dim, config.kernel_size),
            EqualizedConv1d(config.noise_dim, config.kernel_size),
        )
        self.time_encoder = TimeEncoder(config)

    def noise_length(self, last_time: float) -> int:
        """Rows of motion noise that times in [0, last_time] need."""
        return int(last_time // self.config.distance) + 2 + 2 * (self.config.kernel_size - 1)

    def forward(self, noise: Tensor, times: Tensor) -> Tensor:
        """noise (B, N, noise_dim) and times (B, T) >= 0, in frames, fractional allowed -> codes (B, T, code_dim).

        Times may be on the CPU while the rest is on a GPU: reading their values then does not wait for the GPU.

        Raises:
            ValueError: a time is negative or needs more noise than there is.
        """
        batch, count = times.shape
        clock = times.detach().cpu()
        if clock.numel() and float(clock.min()) < 0:
            raise ValueError(f"times must not be negative, got {float(clock.min())}")
        needed = self.noise_length(float(clock.max())) if clock.numel() else 0
        if noise.shape[1] < needed:
            raise ValueError(f"{noise.shape[1]} rows of motion noise, but time {float(clock.max())} needs {needed}")
        # Phases multiply the rounding of the vectors u by max_period / min_period, and angles grow with time: float32
        # would cost three digits of the codes. Training does not need them, and Apple GPUs have no float64.
        if not self.training and noise.device.type != "mps":
            noise, times, clock = noise.double(), times.double(), clock.double()
        left, right = self._neighbours(noise, torch.floor(clock / self.config.distance).long())
        codes = self.time_encoder(
            left.flatten(0, 1), right.flatten(0, 1), sent(times.flatten(), noise.device).to(noise.dtype)
        )
        return codes.reshape(batch, count, -1).to(self.conv[0].weight.dtype)

    def _neighbours(self, noise: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors u at `index` and `index + 1`, (B, T) on the CPU -> 2 x (B, T, noise_dim).

        Convolves the one stretch that covers all times, or a window for each time, whichever is less: frames of
        one video are neighbours, the clips of a training batch lie anywhere.
        """
        batch, count = index.shape
        reach = 2 * (self.config.kernel_size - 1)
        first, last = int(index.min()), int(index.max())
        stretch = last - first + 2 + reach
        if stretch <= count * (2 + reach):
            vectors = self.conv(noise[:, first : first + stretch].transpose(1, 2)).transpose(1, 2)
            pick = sent(index - first, noise.device)[:, :, None].expand(-1, -1, vectors.shape[-1])
            return torch.gather(vectors, 1, pick), torch.gather(vectors, 1, pick + 1)
        rows = sent((index[:, :, None] + torch.arange(2 + reach)).flatten(1), noise.device)  # (B, T * window)
        windows = torch.gather(noise, 1, rows[:, :, None].expand(-1, -1, noise.shape[-1]))
        pairs = self.conv(windows.reshape(batch * count, 2 + reach, -1).transpose(1, 2))
        pairs = pairs.reshape(batch, count, -1, 2)
        return pairs[..., 0], pairs[..., 1]
