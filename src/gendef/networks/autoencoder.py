"""Convolutional autoencoder: images to latents of an eighth of their size and back.

The deterministic counterpart of the first stage of latent diffusion (Rombach et al., CVPR 2022): a tanh bounds the
latents and noise on them during training takes the place of the KL term. The first and the last layer work on blocks of
pixels (pixel unshuffle and shuffle, Shi et al. 2016), so that no convolution runs at full resolution.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.errors import ConfigError, InputError
from gendef.networks.layers import at_least_float32

FACTOR = 8
"""Pixels of the image along one side of a latent pixel."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """Widths and depths. Raises ConfigError for an impossible value."""

    latent_channels: int = 6
    """Channels of the latents. With 4, the colour axis from green to red was not learned (docs/models.md)."""
    widths: tuple[int, int, int] = (16, 48, 96)
    """Channels at a half, a quarter and an eighth of the image size."""
    encoder_blocks: tuple[int, int] = (1, 2)
    """Residual blocks of the encoder at a quarter and an eighth."""
    decoder_blocks: tuple[int, int, int] = (1, 2, 3)
    """Residual blocks of the decoder at a half, a quarter and an eighth."""

    def __post_init__(self) -> None:
        if self.latent_channels < 1:
            raise ConfigError(f"latent_channels must be at least 1, got {self.latent_channels}")
        for name, length, least in (("widths", 3, 1), ("encoder_blocks", 2, 0), ("decoder_blocks", 3, 0)):
            value = getattr(self, name)
            if len(value) != length or any(type(item) is not int or item < least for item in value):
                raise ConfigError(f"{name} must be {length} integers of at least {least}, got {value}")


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity; no normalisation, so that a tile is decoded like the whole."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.second(F.silu(self.first(F.silu(x))))


def _blocks(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(count)]


class Autoencoder(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth = config.widths
        at_half, at_quarter, at_eighth = config.decoder_blocks
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, quarter, 3, padding=1),
            *_blocks(quarter, config.encoder_blocks[0]),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * quarter, eighth, 1),
            *_blocks(eighth, config.encoder_blocks[1]),
            nn.Conv2d(eighth, config.latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent_channels, eighth, 3, padding=1),
            *_blocks(eighth, at_eighth),
            nn.Conv2d(eighth, 4 * quarter, 1),
            nn.PixelShuffle(2),
            *_blocks(quarter, at_quarter),
            nn.Conv2d(quarter, 4 * half, 1),
            nn.PixelShuffle(2),
            *_blocks(half, at_half),
            nn.Conv2d(half, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

    @property
    def reach(self) -> int:
        """Latent pixels around a place that its decoded pixels depend on."""
        at_half, at_quarter, at_eighth = self.config.decoder_blocks
        return math.ceil(1 + 2 * at_eighth + 2 * at_quarter / 2 + (2 * at_half + 1) / 4)

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images.

        Args:
            images: (B, 3, H, W) in [-1, 1]; H and W multiples of 8.

        Returns:
            (B, C, H / 8, W / 8) in [-1, 1].

        Raises:
            InputError: another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % FACTOR or images.shape[3] % FACTOR:
            raise InputError(f"images must be (B, 3, H, W) with sides divisible by {FACTOR}, got {tuple(images.shape)}")
        return torch.tanh(at_least_float32(self.encoder(images)))

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, 8 h, 8 w) of latents (B, C, h, w); not clamped, so that training sees every error.

        Raises:
            InputError: another shape.
        """
        self._check(latents)
        return at_least_float32(self.decoder(latents))

    def decode_tiled(self, latents: Tensor, tile: int = 64) -> Tensor:
        """What `decode` gives, to rounding, tile by tile: memory grows with the tile instead of the image.

        Args:
            latents: (B, C, h, w).
            tile: side of a tile in latent pixels; `reach` more are decoded around each.

        Raises:
            InputError: another shape, or an impossible tile.
        """
        self._check(latents)
        if tile < 1:
            raise InputError(f"a tile must be at least 1 latent pixel, got {tile}")
        batch, _, height, width = latents.shape
        images = latents.new_empty((batch, 3, height * FACTOR, width * FACTOR))
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                above, before = max(top - self.reach, 0), max(left - self.reach, 0)
                part = latents[:, :, above : top + tile + self.reach, before : left + tile + self.reach]
                y, x = (top - above) * FACTOR, (left - before) * FACTOR
                to = images[:, :, top * FACTOR : (top + tile) * FACTOR, left * FACTOR : (left + tile) * FACTOR]
                to.copy_(self.decode(part)[:, :, y : y + to.shape[2], x : x + to.shape[3]])
        return images

    def _check(self, latents: Tensor) -> None:
        if latents.ndim != 4 or latents.shape[1] != self.config.latent_channels:
            raise InputError(f"latents must be (B, {self.config.latent_channels}, h, w), got {tuple(latents.shape)}")

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reconstruction (B, 3, H, W) of images; `noise`, shaped like the latents, is added to them."""
        latents = self.encode(images)
        return self.decode(latents if noise is None else latents + noise)
