"""Prior of latents by flow matching: a small U-Net carries noise to latents of images.

Conditional flow matching on straight paths (Lipman et al., ICLR 2023; Liu et al., ICLR 2023): for noise n, latents x
and a time t in [0, 1] the network sees (1 - t) n + t x and predicts the velocity x - n. Times of training are
logit-normal (Esser et al. 2024, section 3.1). Sampling integrates the velocity with Heun's second-order method.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.errors import ConfigError, InputError

GROUPS = 8
"""Groups of the normalisation; widths are multiples of it."""


@dataclass(frozen=True)
class LatentPriorConfig:
    """Widths and depths of the U-Net. Raises ConfigError for an impossible value."""

    channels: int = 6
    """Channels of the latents."""
    size: int = 32
    """Side of the latents."""
    patch: int = 2
    """Latents enter in blocks of patch x patch, as channels."""
    widths: tuple[int, ...] = (64, 128, 192)
    """Channels at the size of the blocks, its half, its quarter, and so on."""
    blocks: int = 1
    """Residual blocks a resolution, down and up each."""
    attention: tuple[bool, ...] = (False, True, True)
    """Whether a resolution has self-attention after each block."""

    def __post_init__(self) -> None:
        for name in ("channels", "size", "patch", "blocks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.widths or any(type(width) is not int or width < 1 or width % GROUPS for width in self.widths):
            raise ConfigError(f"widths must be positive multiples of {GROUPS}, got {self.widths}")
        if len(self.attention) != len(self.widths) or any(type(flag) is not bool for flag in self.attention):
            raise ConfigError(
                f"attention must be {len(self.widths)} booleans, one for each width, got {self.attention}"
            )
        step = self.patch * 2 ** (len(self.widths) - 1)
        if self.size % step:
            raise ConfigError(f"size must be divisible by {step} for this patch and these widths, got {self.size}")


def time_features(times: Tensor, width: int) -> Tensor:
    """(B,) in [0, 1] -> (B, width): sines and cosines of geometric frequencies from 1 to 1000 radians."""
    count = width // 2
    frequencies = torch.exp(torch.linspace(0, math.log(1000.0), count, device=times.device))
    angles = times.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zero_(layer: nn.Conv2d) -> None:
    """Set weights and biases to zero: at first a residual branch adds nothing, and the last layer gives 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class TimedBlock(nn.Module):
    """Residual block whose second normalisation is scaled and shifted by the time (Dhariwal and Nichol 2021)."""

    def __init__(self, channels_in: int, channels_out: int, time_width: int, attention: bool) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(GROUPS, channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulation = nn.Linear(time_width, 2 * channels_out)
        self.norm_out = nn.GroupNorm(GROUPS, channels_out)
        self.conv_out = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        self.attention = SelfAttention(channels_out) if attention else nn.Identity()
        zero_(self.conv_out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, C_in, H, W), (B, time_width) -> (B, C_out, H, W)."""
        scale, shift = self.modulation(time)[:, :, None, None].chunk(2, dim=1)
        y = self.conv_in(F.silu(self.norm_in(x)))
        y = self.conv_out(F.silu(self.norm_out(y) * (1 + scale) + shift))
        return self.attention(self.skip(x) + y)  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Residual self-attention over all places, in heads of 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(channels // 32, 1)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        zero_(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(3, 4).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(x.shape)
        return x + self.out(y)


class LatentPrior(nn.Module):
    """Velocity of the flow from noise to normalised latents.

    Attributes:
        mean, std: (C, 1, 1), of the latents of the training data; the flow ends at latents normalised by them.
    """

    def __init__(self, config: LatentPriorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        time_width = 2 * widths[0]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(config.channels, 1, 1))
        self.register_buffer("std", torch.ones(config.channels, 1, 1))
        self.time = nn.Sequential(
            nn.Linear(widths[0], time_width), nn.SiLU(), nn.Linear(time_width, time_width), nn.SiLU()
        )
        inner = config.channels * config.patch**2
        self.first = nn.Conv2d(inner, widths[0], 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        before = widths[0]
        for level, (width, attends) in enumerate(zip(widths, config.attention, strict=True)):
            if level:
                self.shrink.append(nn.Conv2d(before, width, 2, stride=2))
            self.down.append(nn.ModuleList(TimedBlock(width, width, time_width, attends) for _ in range(config.blocks)))
            before = width
        for level in reversed(range(len(widths))):
            width = widths[level]
            if level < len(widths) - 1:
                self.grow.append(nn.Conv2d(before, 4 * width, 1))
            blocks = [TimedBlock(2 * width, width, time_width, config.attention[level]) for _ in range(config.blocks)]
            self.up.append(nn.ModuleList(blocks))
            before = width
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.last = nn.Conv2d(widths[0], inner, 3, padding=1)
        zero_(self.last)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """Velocity (B, C, S, S) at noisy latents (B, C, S, S) and times (B,) in [0, 1]."""
        time = self.time(time_features(times, self.config.widths[0]))
        x = self.first(F.pixel_unshuffle(x, self.config.patch))
        kept = []
        for level, blocks in enumerate(self.down):
            if level:
                x = self.shrink[level - 1](x)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, time)
                kept.append(x)
        for step, blocks in enumerate(self.up):
            if step:
                x = F.pixel_shuffle(self.grow[step - 1](x), 2)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(torch.cat([x, kept.pop()], dim=1), time)
        return F.pixel_shuffle(self.last(F.silu(self.norm(x))), self.config.patch).float()

    def normalise(self, latents: Tensor) -> Tensor:
        """Latents of the autoencoder with the mean 0 and the spread 1 of the training data."""
        return (latents - self.mean) / self.std

    def loss(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Mean squared error (B,) of the velocity, for normalised latents, noise of their shape and times (B,)."""
        t = times[:, None, None, None]
        velocity = self((1 - t) * noise + t * latents, times)
        return (velocity - (latents - noise)).square().mean(dim=(1, 2, 3))

    @torch.no_grad()
    def sample(self, noise: Tensor, steps: int = 24) -> Tensor:
        """Latents for the autoencoder, in [-1, 1], from normal noise (B, C, S, S), scaled for a temperature below 1.

        Raises:
            InputError: noise of another shape, or no steps.
        """
        expected = (self.config.channels, self.config.size, self.config.size)
        if noise.ndim != 4 or tuple(noise.shape[1:]) != expected:
            raise InputError(f"noise must be (B, {', '.join(map(str, expected))}), got {tuple(noise.shape)}")
        if steps < 1:
            raise InputError(f"sampling needs at least 1 step, got {steps}")
        x = noise
        for start, end in torch.linspace(0, 1, steps + 1).unfold(0, 2, 1).tolist():
            velocity = self(x, x.new_full((len(x),), start))
            ahead = x + (end - start) * velocity
            after = self(ahead, x.new_full((len(x),), end))
            x = x + (end - start) / 2 * (velocity + after)
        return (x * self.std + self.mean).clamp(-1, 1)


def logit_normal_times(count: int, generator: torch.Generator) -> Tensor:
    """(count,) times in (0, 1): the logistic function of normal values."""
    return torch.sigmoid(torch.randn(count, generator=generator))
