"""The paper's discriminator: StyleGAN-V's residual network with temporal shift, for clips and for single images."""

import math

import torch
from torch import Tensor, nn

from gendef.networks.discriminator_config import DiscriminatorConfig
from gendef.networks.layers import EqualizedConv2d, EqualizedLinear, MappingNetwork, at_least_float32

RESIDUAL_GAIN = math.sqrt(0.5)
NUM_WAVES = 10


def temporal_shift(x: Tensor, num_frames: int, share: int = 8) -> Tensor:
    """Swap 1/8 of the channels with the next and 1/8 with the previous frame (Lin et al. 2019); zeros at the ends.

    x: (B * T, C, H, W). A single frame has no neighbours and is returned unchanged.
    """
    if num_frames == 1:
        return x
    rows = x.permute(0, 2, 3, 1)  # as the maps lie in memory
    frames = rows.reshape(-1, num_frames, *rows.shape[1:])
    fold = x.shape[1] // share
    zero = torch.zeros_like(frames[:, :1, ..., :fold])
    from_next = torch.cat((frames[:, 1:, ..., :fold], zero), dim=1)
    from_previous = torch.cat((zero, frames[:, :-1, ..., fold : 2 * fold]), dim=1)
    shifted = torch.cat((from_next, from_previous, frames[..., 2 * fold :]), dim=-1)
    return shifted.reshape(rows.shape).permute(0, 3, 1, 2)


def minibatch_std(x: Tensor, group: int) -> Tensor:
    """Append a map of the deviation within groups of the batch (Karras et al. 2018): (B, C, ..) -> (B, C + 1, ..)."""
    batch, channels, height, width = x.shape
    size = math.gcd(min(group, batch), batch)
    groups = at_least_float32(x).reshape(size, -1, channels, height, width)
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    plane = deviation.reshape(-1, 1, 1, 1).repeat(size, 1, height, width)
    return torch.cat((x, plane.to(x.dtype)), dim=1)


class TimeDifferenceEncoder(nn.Module):
    """Learned embedding and fixed waves of each time difference."""

    def __init__(self, max_num_frames: int, width: int) -> None:
        super().__init__()
        self.const_embed = nn.Embedding(max_num_frames, width)
        self.omega: Tensor
        omega = math.pi * 2.0 ** torch.arange(NUM_WAVES) / 1024
        self.register_buffer("omega", omega, persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        """times (B, T) in frames -> (B, (T - 1) * (width + 2 * 10))."""
        difference = times.diff(dim=1)
        limit = self.const_embed.num_embeddings - 1
        learned = self.const_embed(difference.abs().round().long().clamp(max=limit))
        angle = difference[:, :, None] * self.omega
        return torch.cat((learned, torch.sin(angle), torch.cos(angle)), dim=2).flatten(1)


class ResidualBlock(nn.Module):
    """Two convolutions and a 1x1 skip, halving the resolution; the first block also reads the image."""

    def __init__(
        self, in_channels: int, out_channels: int, *, reads_image: bool, shifts: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.shifts = shifts
        if reads_image:
            self.fromrgb = EqualizedConv2d(3, in_channels, 1, clamp=clamp)
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3, clamp=clamp)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, down=True, clamp=clamp)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, bias=False, activate=False, down=True)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """(B * T, C, H, W) -> (B * T, C', H/2, W/2)."""
        if hasattr(self, "fromrgb"):
            x = self.fromrgb(x)
        skip = self.skip(x, gain=RESIDUAL_GAIN)
        x = temporal_shift(x, num_frames) if self.shifts else x
        return skip + self.conv1(self.conv0(x), gain=RESIDUAL_GAIN)


class Epilogue(nn.Module):
    """4x4 features to a logit, or to the vector that the condition is projected on."""

    def __init__(self, channels: int, out_features: int, group: int, clamp: float | None) -> None:
        super().__init__()
        self.group = group
        self.conv = EqualizedConv2d(channels + 1, channels, 3, clamp=clamp)
        self.fc = EqualizedLinear(channels * 16, channels, activate=True)
        self.out = EqualizedLinear(channels, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 4, 4) -> (B, out_features)."""
        return self.out(self.fc(self.conv(minibatch_std(x, self.group)).flatten(1)))


class Discriminator(nn.Module):
    """Clips and their times to logits.

    A single frame uses the same weights without temporal shift, with the time differences of a still clip. So stage 2
    starts from the image discriminator of stage 1.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config

        def width(size: int) -> int:
            return min(config.channel_base // size, config.channel_max)

        self.sizes = [2**power for power in range(int(math.log2(config.resolution)), 2, -1)]
        self.blocks = nn.ModuleList(
            ResidualBlock(
                width(size),
                width(size // 2),
                reads_image=size == config.resolution,
                shifts=size > config.concat_resolution,
                clamp=config.conv_clamp,
            )
            for size in self.sizes
        )
        condition = config.num_classes
        if config.num_frames > 1:
            self.time_encoder = TimeDifferenceEncoder(config.max_num_frames, config.time_dim)
            condition += (config.num_frames - 1) * (config.time_dim + 2 * NUM_WAVES)
        top = width(4)
        if condition:
            self.mapping = MappingNetwork(0, top, config.mapping_layers, condition_dim=condition, track_average=False)
        self.b4 = Epilogue(top, top if condition else 1, config.minibatch_std_group, config.conv_clamp)

    def features(self, video: Tensor) -> Tensor:
        """video (B, T, 3, R, R) -> features (B, C, 4, 4) of each clip by itself. T is `num_frames`, or 1."""
        batch, count = video.shape[:2]
        if count not in (1, self.config.num_frames):
            raise ValueError(f"this discriminator takes clips of 1 or {self.config.num_frames} frames, got {count}")
        x = video.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        merged = count == 1
        for size, block in zip(self.sizes, self.blocks, strict=True):
            if size <= self.config.concat_resolution and not merged:
                x, merged = x.reshape(batch, count, *x.shape[1:]).mean(dim=1), True
            x = block(x, 1 if merged else count)
        return x if merged else x.reshape(batch, count, *x.shape[1:]).mean(dim=1)

    def logits(self, features: Tensor, times: Tensor | None, labels: Tensor | None) -> Tensor:
        """`features` of a batch, times (B, T) in frames or None for single frames, labels -> (B,)."""
        output = self.b4(features)
        if not hasattr(self, "mapping"):
            return output.squeeze(1)
        parts = [] if labels is None else [labels]
        if self.config.num_frames > 1:
            if times is None:
                times = torch.zeros(len(features), self.config.num_frames, device=features.device)
            parts.append(self.time_encoder(times))
        projection = self.mapping(None, torch.cat(parts, dim=1))
        return (output * projection).sum(dim=1) / math.sqrt(output.shape[1])

    def forward(self, video: Tensor, times: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """video (B, T, 3, R, R) in [-1, 1], times (B, T) in frames, labels (B, num_classes) -> logits (B,).

        T is `num_frames`, or 1; a single frame has no times.
        """
        return self.logits(self.features(video), None if video.shape[1] == 1 else times, labels)
