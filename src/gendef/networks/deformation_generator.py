"""The deformation field generator G_d (GenDeF section 3.2): StyleGAN2 blocks with the motion code and f_c as inputs.

The motion code enters at the 4x4 input, f_c at every synthesis layer. Skip outputs of two channels are summed from
coarse to fine; the last block multiplies the field so far and adds to it (equation 3), both starting at zero, so that
every frame starts as the canonical image, exactly.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from gendef.errors import ConfigError
from gendef.networks.canonical_generator import resize_feature
from gendef.networks.generator_config import DeformationConfig
from gendef.networks.layers import LEAKY_SLOPE, SQRT_2, EqualizedLinear, at_least_float32
from gendef.networks.modulated import Modulated, ModulatedConv2d
from gendef.networks.resample import upsample_2x


class DeformationLayer(nn.Module):
    """Concatenate f_c, modulated 3x3 convolution, leaky ReLU."""

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

    def modulate(self, w: Tensor, feature: Tensor) -> Modulated:
        """w (B, w_dim), f_c (B, F, H, W) of the input's size -> what the layer needs once per video."""
        if not self.condition_dim:
            return self.conv.modulate(w, feature.dtype, gain=SQRT_2)
        if feature.shape[1] != self.condition_dim:
            feature = self.canonical_feat_proj(feature.movedim(1, -1)).movedim(-1, 1)
        feature = feature.contiguous(memory_format=torch.channels_last)
        return self.conv.modulate(w, feature.dtype, shared=feature, gain=SQRT_2)

    def forward(self, x: Tensor, ready: Modulated) -> Tensor:
        """(B * T, C, H, W) -> (B * T, C', H', W')."""
        return self.conv.convolve(x, ready, self.bias, slope=LEAKY_SLOPE, clamp=self.clamp)


class FieldOutput(nn.Module):
    """Unactivated 1x1 modulated convolution: a contribution to the field, or multiplier and addend."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, *, mtm: bool, clamp: float | None) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 1, w_dim, demodulate=False, mtm=mtm)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.clamp = clamp

    def forward(self, x: Tensor, ready: Modulated) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H, W), float32."""
        # bfloat16 has 8 significant bits, too few for positions.
        return self.conv.convolve(at_least_float32(x), ready, self.bias, clamp=self.clamp)


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

    def modulate(self, w: Tensor, feature: Tensor) -> list[Modulated]:
        """What its layers need once per video, in their order."""
        ready = []
        if self.resolution > 4:
            ready.append(self.conv0.modulate(w, resize_feature(feature, self.resolution // 2)))
        ready.append(self.conv1.modulate(w, resize_feature(feature, self.resolution)))
        return [*ready, self.torgb.conv.modulate(w, torch.promote_types(feature.dtype, torch.float32))]

    def forward(self, x: Tensor, ready: list[Modulated]) -> tuple[Tensor, Tensor]:
        """Features of the block before -> features, output (N, field_channels, H, W)."""
        if self.resolution > 4:
            x = self.conv0(x, ready[0])
        x = self.conv1(x, ready[-2])
        return x, self.torgb(x, ready[-1])


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
        """Start with a small motion that varies slowly in space.

        A still video is a saddle point: motion in opposite directions lowers the loss equally, and a short
        training does not leave it.
        """
        for block, scale in zip(self.blocks, (0.1, 0.02) + (0.0,) * len(self.blocks), strict=False):
            assert isinstance(block, DeformationBlock)
            block.torgb.conv.weight.mul_(scale)
        self.last_output.bias[:2] = 1.0

    @property
    def last_output(self) -> FieldOutput:
        """The output layer of the last block. Its step size and initial values determine how fast fields grow."""
        block = self.blocks[-1]
        assert isinstance(block, DeformationBlock)
        return block.torgb

    def modulate(self, w: Tensor, feature: Tensor) -> list[list[Modulated]]:
        """w (B, w_dim), f_c (B, C, h, w) -> everything that does not depend on time, for each block."""
        return [block.modulate(w, feature) for block in cast(list[DeformationBlock], list(self.blocks))]

    def forward(self, codes: Tensor, ready: list[list[Modulated]]) -> Tensor:
        """Motion codes (B, T, motion_dim), and what `modulate` gave -> offsets (B, T, R, R, 2), x then y."""
        batch, count = codes.shape[:2]
        codes = codes.flatten(0, 1)[:, :, None, None].expand(-1, -1, 4, 4)
        x = torch.cat((self.const.expand(batch * count, -1, -1, -1), codes), dim=1).to(ready[0][0].weight.dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        field: Tensor | None = None
        for block, block_ready in zip(self.blocks, ready, strict=True):
            x, output = block(x, block_ready)
            if field is None:
                field = output
                continue
            field = upsample_2x(field)
            multiplies = output.shape[1] == 4
            field = field * output[:, :2] + output[:, 2:] if multiplies else field + output
        assert field is not None
        return field.permute(0, 2, 3, 1).reshape(batch, count, *field.shape[2:], 2)
