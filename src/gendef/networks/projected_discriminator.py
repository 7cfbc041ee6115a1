"""A discriminator on frozen image features (Projected GAN, Sauer et al. 2021), for images and for clips.

Features of a frozen network at four scales are mixed by fixed random convolutions across channels and scales; one
small spectrally normalised head per scale turns them into patch logits. Clips have heads of their own, which get the
concatenated features of all frames and their time differences.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.networks.discriminator_config import ProjectedConfig
from gendef.networks.efficientnet_lite0 import FEATURE_CHANNELS, EfficientNetFeatures
from gendef.networks.layers import LEAKY_SLOPE

# About the standard deviations of the four maps on natural images (within a factor of 0.6 to 1.3), so that all scales
# start with similar weights. Trained discriminators depend on exactly these numbers.
FEATURE_SCALES = (11.0, 7.0, 4.2, 1.65)
NUM_TIME_WAVES = 6


class SpectralConv2d(nn.Module):
    """Convolution divided by its largest singular value (Miyato et al. 2018), one power iteration per training call."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel))
        nn.init.orthogonal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.u: Tensor
        self.register_buffer("u", F.normalize(torch.randn(channels_out), dim=0))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(matrix.t() @ self.u, dim=0)
            if self.training and torch.is_grad_enabled():
                self.u.copy_(F.normalize(matrix @ v, dim=0))
            u = self.u.clone()
        weight = self.weight / (u @ (matrix @ v))
        return F.conv2d(x, weight.to(x.dtype), self.bias.to(x.dtype), self.stride, self.padding)


class PatchHead(nn.Module):
    """Mixed features of one scale to a few patch logits.

    Args:
        size: side of the feature map.
        frames: number of frames whose features are concatenated in the channels.
        condition_dim: width of the condition that shifts the first layer (time differences), 0 for none.
        num_classes: labels are compared with the features by projection (Miyato and Koyama 2018).
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int,
        *,
        frames: int = 1,
        condition_dim: int = 0,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        steps = max(int(math.log2(size / 3)), 0)
        self.first = SpectralConv2d(channels * frames, width, 4 if steps else 3, 2 if steps else 1, 1)
        self.rest = nn.ModuleList(SpectralConv2d(width, width, 4, 2, 1) for _ in range(steps - 1))
        self.last = SpectralConv2d(width, 1, 3, padding=1)
        # Identical frames add up coherently, and concatenation divides the spectral norm by sqrt(frames).
        self.gain = 1 / math.sqrt(frames)
        if condition_dim:
            self.condition = nn.Linear(condition_dim, width)
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)
        if num_classes:
            self.classes = nn.Linear(num_classes, width, bias=False)

    def forward(self, x: Tensor, condition: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """x (B, frames * C, H, W), condition (B, condition_dim), labels (B, num_classes) -> (B, K) logits."""
        x = self.first(x * self.gain)
        if condition is not None:
            x = x + self.condition(condition).to(x.dtype)[:, :, None, None]
        x = F.leaky_relu(x, LEAKY_SLOPE)
        for layer in self.rest:
            x = F.leaky_relu(layer(x), LEAKY_SLOPE)
        logits = self.last(x).flatten(1)
        if labels is not None:
            projection = self.classes(labels.to(x.dtype))[:, :, None, None]
            logits = logits + (x * projection).sum(dim=1).flatten(1) / math.sqrt(x.shape[1])
        return logits.float()

    @torch.no_grad()
    def start_from(self, image_head: "PatchHead", frames: int) -> None:
        """Initialise from an image head, so that a still clip gets the image's logits."""
        own, other = dict(self.named_parameters()), dict(image_head.named_parameters())
        for name, value in other.items():
            own[name].copy_(value.repeat(1, frames, 1, 1) if name == "first.weight" else value)
        for name, buffer in image_head.named_buffers():
            dict(self.named_buffers())[name].copy_(buffer)


def time_condition(times: Tensor) -> Tensor:
    """Waves of the logarithm of all time differences: (B, T) in frames -> (B, (T - 1) * 2 * 6)."""
    difference = torch.log2(times.diff(dim=1).abs() + 1) / 10
    angle = difference[:, :, None] * math.pi * 2.0 ** torch.arange(NUM_TIME_WAVES, device=times.device)
    return torch.cat((torch.sin(angle), torch.cos(angle)), dim=2).flatten(1)


class ProjectedDiscriminator(nn.Module):
    """Image and clip logits from frozen features; the feature network itself is not part of the state dict.

    A training step extracts the features once and passes them to the heads: with gradient for the generator, detached
    for the update of the heads.
    """

    def __init__(self, config: ProjectedConfig, features: EfficientNetFeatures) -> None:
        super().__init__()
        self.config = config
        # In a tuple, so that the frozen network is not registered: neither saved nor handed to an optimiser.
        self._features = (features,)
        generator = torch.Generator().manual_seed(config.mixing_seed)
        mixed = config.mixed_channels
        self.mix_channels, self.mix_scales = nn.ModuleList(), nn.ModuleList()
        for channels in FEATURE_CHANNELS:
            self.mix_channels.append(_random_conv(channels, mixed, 1, generator))
            self.mix_scales.append(_random_conv(mixed, mixed, 3, generator))
        sizes = [config.feature_size // stride for stride in (4, 8, 16, 32)]
        head = {"channels": mixed, "width": config.head_channels, "num_classes": config.num_classes}
        self.image_head = nn.ModuleList(PatchHead(size, **head) for size in sizes)
        self.video_head = nn.ModuleList()
        if config.num_frames > 1:
            condition = (config.num_frames - 1) * 2 * NUM_TIME_WAVES
            self.video_head.extend(
                PatchHead(size, frames=config.num_frames, condition_dim=condition, **head) for size in sizes
            )

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        self._features[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def extract(self, frames: Tensor) -> list[Tensor]:
        """frames (N, 3, H, W) in [-1, 1] -> four mixed maps (N, mixed_channels, h, w), finest first."""
        size = self.config.feature_size
        if frames.shape[-1] != size:
            antialias = frames.shape[-1] > size
            frames = F.interpolate(frames, (size, size), mode="bilinear", align_corners=False, antialias=antialias)
        maps = self._features[0](frames)
        mixed: list[Tensor] = []
        above: Tensor | None = None
        for level in reversed(range(4)):
            x = self.mix_channels[level](maps[level] / FEATURE_SCALES[level])
            if above is not None:
                x = (x + F.interpolate(above, scale_factor=2, mode="bilinear", align_corners=False)) * math.sqrt(0.5)
            above = self.mix_scales[level](x)
            mixed.append(above)
        return mixed[::-1]

    def image_logits(self, mixed: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Maps of N frames, labels (N, num_classes) -> logits (N, K) of the image heads."""
        return torch.cat([head(x, labels=labels) for head, x in zip(self.image_head, mixed, strict=True)], dim=1)

    def video_logits(self, mixed: list[Tensor], times: Tensor, labels: Tensor | None = None) -> Tensor:
        """Maps of B * T frames, video-major, and times (B, T) -> logits (B, K) of the video heads."""
        batch, count = times.shape
        condition = time_condition(times.float())
        logits = []
        for head, x in zip(self.video_head, mixed, strict=True):
            side_by_side = x.reshape(batch, count * x.shape[1], *x.shape[2:])
            logits.append(head(side_by_side, condition, labels))
        return torch.cat(logits, dim=1)

    def forward(self, video: Tensor, times: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """video (B, T, 3, H, W) in [-1, 1], times (B, T) in frames -> logits (B, K); image heads when T is 1."""
        mixed = self.extract(video.flatten(0, 1))
        if video.shape[1] == 1:
            return self.image_logits(mixed, labels)
        if times is None or video.shape[1] != self.config.num_frames:
            raise ValueError(f"clips of {self.config.num_frames} frames and their times are needed")
        return self.video_logits(mixed, times, labels)

    def start_video_heads(self) -> None:
        """Start the video heads from the image heads."""
        for video_head, image_head in zip(self.video_head, self.image_head, strict=True):
            assert isinstance(video_head, PatchHead) and isinstance(image_head, PatchHead)
            video_head.start_from(image_head, self.config.num_frames)


def _random_conv(channels_in: int, channels_out: int, kernel: int, generator: torch.Generator) -> nn.Conv2d:
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    with torch.no_grad():
        std = 1 / math.sqrt(channels_in * kernel**2)
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator) * std)
    return conv.requires_grad_(False)
