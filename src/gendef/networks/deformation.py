"""The deformation field generator G_d (GenDeF section 3.2): StyleGAN2 blocks that see the motion code and f_c.

The motion code enters at the 4x4 input, f_c at every synthesis layer. Skip outputs of two channels are summed from
coarse to fine; the last block multiplies the field so far and adds to it (equation 3), both starting at zero, so that
every frame starts as the canonical image, exactly.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gendef.errors import ConfigError
from gendef.networks.canonical import resize_feature
from gendef.networks.layers import SQRT_2, EqualizedLinear, at_least_float32, leaky_relu
from gendef.networks.modulated import ModulatedConv2d
from gendef.networks.resample import upsample_2x


@dataclass(frozen=True)
class DeformationConfig:
    """The deformation field generator."""

    channel_base: int = 32768
    """Channels of a block are channel_base / resolution ..."""
    channel_max: int = 512
    """... but at most this."""
    condition_dim: int = 64
    """Channels that f_c is projected to before it joins each layer; 0 leaves f_c out (an ablation)."""
    init: Literal["zero", "xavier", "none", "smooth"] = "zero"
    """Start of the output layers: zero or Xavier multiplier and addend, or no multiplier (paper, Table A1); smooth:
    a multiplier of one on small fields of the two coarsest blocks, for short trainings."""
    mtm_resolutions: tuple[int, ...] = ()
    """Blocks of these resolutions sample at learned offsets (MTM)."""
    conv_clamp: float | None = 256.0
    """Bound on the absolute value of activations."""

    def __post_init__(self) -> None:
        if self.init not in ("zero", "xavier", "none", "smooth"):
            raise ConfigError(f"deformation.init must be zero, xavier, none or smooth, got {self.init!r}")
        if min(self.channel_base, self.channel_max) < 1 or self.condition_dim < 0:
            raise ConfigError(f"deformation: widths must be positive: {self}")


class DeformationLayer(nn.Module):
    """Join f_c, modulated 3x3 convolution, leaky ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        feature_channels: int,
        config: DeformationConfig,
        *,
        up: bool = False,
        mtm: bool = False,
    ) -> None:
        super().__init__()
        self.condition_dim, self.clamp = config.condition_dim, config.conv_clamp
        if config.condition_dim and feature_channels != config.condition_dim:
            self.canonical_feat_proj = EqualizedLinear(feature_channels, config.condition_dim)
        self.conv = ModulatedConv2d(in_channels + config.condition_dim, out_channels, 3, w_dim, up=up, mtm=mtm)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, w: Tensor, feature: Tensor) -> Tensor:
        """x (B * T, C, H, W), w (B * T, w_dim), f_c (B, F, H, W) of the same size -> (B * T, C', H', W')."""
        if self.condition_dim:
            if feature.shape[1] != self.condition_dim:
                feature = self.canonical_feat_proj(feature.movedim(1, -1)).movedim(-1, 1)
            feature = feature.to(x.dtype).repeat_interleave(len(x) // len(feature), dim=0)
            x = torch.cat((x, feature), dim=1).contiguous(memory_format=torch.channels_last)
        return leaky_relu(self.conv(x, w, bias=self.bias, gain=SQRT_2), gain=1.0, clamp=self.clamp)


class FieldOutput(nn.Module):
    """Unactivated 1x1 modulated convolution: a contribution to the field, or multiplier and addend."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, *, mtm: bool, clamp: float | None) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 1, w_dim, demodulate=False, mtm=mtm)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H, W), float32."""
        x = at_least_float32(self.conv(x, w, bias=self.bias))
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class DeformationBlock(nn.Module):
    """Two layers (one at 4x4) and an output at one resolution."""

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        out_channels: int,
        field_channels: int,
        w_dim: int,
        feature_channels: int,
        config: DeformationConfig,
        *,
        is_last: bool,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        mtm = resolution in config.mtm_resolutions
        if resolution > 4:
            self.conv0 = DeformationLayer(in_channels, out_channels, w_dim, feature_channels, config, up=True)
        width = in_channels if resolution == 4 else out_channels
        self.conv1 = DeformationLayer(width, out_channels, w_dim, feature_channels, config, mtm=mtm)
        self.torgb = FieldOutput(out_channels, field_channels, w_dim, mtm=mtm and not is_last, clamp=config.conv_clamp)

    def forward(self, x: Tensor, w: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the block before and f_c -> features, output (N, field_channels, H, W)."""
        if self.resolution > 4:
            x = self.conv0(x, w, resize_feature(feature, self.resolution // 2))
        x = self.conv1(x, w, resize_feature(feature, self.resolution))
        return x, self.torgb(x, w)


class DeformationGenerator(nn.Module):
    """Motion codes, w and f_c to offsets in normalised units of the canonical image."""

    def __init__(
        self, resolution: int, config: DeformationConfig, w_dim: int, motion_dim: int, feature_channels: int
    ) -> None:
        super().__init__()
        if resolution < 8 or resolution & (resolution - 1):
            raise ConfigError(f"the deformation generator needs a power of two from 8, got {resolution}")
        self.multiplies = config.init != "none"
        sizes = [2**power for power in range(2, int(math.log2(resolution)) + 1)]
        widths = [min(config.channel_base // size, config.channel_max) for size in sizes]
        if min(widths) < 1:
            raise ConfigError(f"deformation.channel_base {config.channel_base} is too small for {resolution} pixels")
        self.const = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.blocks = nn.ModuleList()
        for index, size in enumerate(sizes):
            is_last = index == len(sizes) - 1
            self.blocks.append(
                DeformationBlock(
                    size,
                    widths[0] + motion_dim if index == 0 else widths[index - 1],
                    widths[index],
                    4 if is_last and self.multiplies else 2,
                    w_dim,
                    feature_channels,
                    config,
                    is_last=is_last,
                )
            )
        head = self.last_output.conv.weight
        if config.init == "zero":
            nn.init.zeros_(head)
        elif config.init == "xavier":
            nn.init.xavier_uniform_(head)
        elif config.init == "smooth":
            self._start_smooth()

    @torch.no_grad()
    def _start_smooth(self) -> None:
        """Move a little, slowly varying in space, from the first step.

        A still video is a saddle: motion to either side would please the discriminator equally, and in a short training
        nothing breaks the tie.
        """
        for block, scale in zip(self.blocks, (0.1, 0.02) + (0.0,) * len(self.blocks), strict=False):
            assert isinstance(block, DeformationBlock)
            block.torgb.conv.weight.mul_(scale)
        self.last_output.bias[:2] = 1.0

    @property
    def last_output(self) -> FieldOutput:
        """The output layer of the last block, whose step size and start decide how fields grow."""
        block = self.blocks[-1]
        assert isinstance(block, DeformationBlock)
        return block.torgb

    def forward(self, w: Tensor, codes: Tensor, feature: Tensor) -> Tensor:
        """w (B, w_dim), motion codes (B, T, motion_dim), f_c (B, C, h, w) -> offsets (B, T, R, R, 2), x then y."""
        batch, count = codes.shape[:2]
        w = w.repeat_interleave(count, dim=0)
        codes = codes.flatten(0, 1)[:, :, None, None].expand(-1, -1, 4, 4)
        x = torch.cat((self.const.expand(batch * count, -1, -1, -1), codes), dim=1).to(feature.dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        field: Tensor | None = None
        for block in self.blocks:
            x, output = block(x, w, feature)
            if field is None:
                field = output
                continue
            field = upsample_2x(field)
            multiplies = output.shape[1] == 4
            field = field * output[:, :2] + output[:, 2:] if multiplies else field + output
        assert field is not None
        return field.permute(0, 2, 3, 1).reshape(batch, count, *field.shape[2:], 2)
