"""Modulated convolution (StyleGAN2/3) and the modulated transformation module, MTM (GenDeF section 3.1, StyleSV).

A style scales the input channels and demodulation scales the output channels, so the weights themselves are
shared by the whole batch: scale, ordinary convolution, scale. This is exact, and needs no grouped convolution.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.networks.layers import EqualizedLinear, at_least_float32
from gendef.networks.resample import upsampled_conv2d


def modulation(
    weight: Tensor, styles: Tensor, *, demodulate: bool, normalize: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Weights, styles and output scales of a modulated convolution.

    Args:
        weight: (O, I, K, K).
        styles: (B, I).
        demodulate: scale every output map to unit expected variance (Karras et al. 2020, equation 3).
        normalize: first bring weights and styles to unit mean square, the styles over the whole batch (StyleGAN3).

    Returns:
        weight (O, I, K, K), styles (B, I), scales (B, O) or None.
    """
    if not demodulate:
        return weight, styles, None
    if normalize:
        weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
        styles = styles * styles.square().mean().rsqrt()
    energy = weight.square().sum(dim=(2, 3))
    return weight, styles, (F.linear(styles.square(), energy) + 1e-8).rsqrt()


def deformable_columns(x: Tensor, offsets: Tensor, masks: Tensor, kernel_size: int, padding: int) -> Tensor:
    """Samples of `x` at the displaced taps of a convolution (deformable convolution v2, Zhu et al. 2019).

    Args:
        x: (B, C, H, W); zero outside.
        offsets: (B, 2 K^2, Ho, Wo) in pixels, y and x of tap 0, then of tap 1, ...; taps in row-major order.
        masks: (B, K^2, Ho, Wo) factors.

    Returns:
        (B, C * K^2, Ho * Wo), for a product with a weight reshaped to (O, C * K^2).
    """
    batch, channels, height, width = x.shape
    taps, out_h, out_w = masks.shape[1:]
    shift = torch.arange(kernel_size, device=x.device, dtype=offsets.dtype) - padding
    tap_y, tap_x = shift.repeat_interleave(kernel_size), shift.repeat(kernel_size)
    rows = torch.arange(out_h, device=x.device, dtype=offsets.dtype)
    columns = torch.arange(out_w, device=x.device, dtype=offsets.dtype)
    pairs = offsets.reshape(batch, taps, 2, out_h, out_w)
    y = pairs[:, :, 0] + tap_y[None, :, None, None] + rows[None, None, :, None]
    x_pos = pairs[:, :, 1] + tap_x[None, :, None, None] + columns[None, None, None, :]
    grid = torch.stack(((2 * x_pos + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    samples = F.grid_sample(
        x, grid.reshape(batch, taps * out_h, out_w, 2).to(x.dtype), padding_mode="zeros", align_corners=False
    ).reshape(batch, channels, taps, out_h * out_w)
    samples = samples * masks.reshape(batch, 1, taps, out_h * out_w).to(x.dtype)
    return samples.reshape(batch, channels * taps, out_h * out_w)


class ModulatedConv2d(nn.Module):
    """Modulated convolution with its style affine and, on request, MTM.

    Parameters carry the names of the official networks: `weight`, `affine`, and for MTM `dcn_weight`, `dcn_affine`,
    `dcn_scales`, `dcn_bias`.

    Args:
        in_channels, out_channels, kernel_size: as usual, odd kernel.
        w_dim: width of the latent that styles come from.
        demodulate: see `modulation`; without it the style is scaled by 1/sqrt(fan in) instead (output layers).
        normalize: StyleGAN3's normalisation of weights and styles.
        mtm: sample at learned offsets with learned masks.
        up: double the resolution first (not with MTM).
        padding: zero padding; default keeps the size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        w_dim: int,
        *,
        demodulate: bool = True,
        normalize: bool = False,
        mtm: bool = False,
        up: bool = False,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.demodulate, self.normalize, self.up = kernel_size, demodulate, normalize, up
        self.padding = kernel_size // 2 if padding is None else padding
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.fan_in_gain = 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.mtm = mtm
        if mtm:
            taps = 3 * kernel_size**2
            self.dcn_weight = nn.Parameter(torch.randn(taps, in_channels, kernel_size, kernel_size))
            self.dcn_affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
            # Zero offsets and masks of one at the start: an ordinary modulated convolution.
            self.dcn_scales = nn.Parameter(torch.zeros(1, taps, 1, 1))
            self.dcn_bias = nn.Parameter(torch.zeros(1, taps, 1, 1))

    def forward(
        self,
        x: Tensor,
        w: Tensor,
        *,
        input_gain: Tensor | None = None,
        bias: Tensor | None = None,
        gain: float = 1.0,
    ) -> Tensor:
        """x (B, I, H, W), w (B, w_dim), bias (O,) -> (convolution + bias) * gain, (B, O, Ho, Wo).

        `input_gain` is a factor on the input, applied to the weights.
        """
        styles = self.affine(w)
        if not self.demodulate:
            styles = styles * self.fan_in_gain
        weight, styles, scales = modulation(self.weight, styles, demodulate=self.demodulate, normalize=self.normalize)
        if input_gain is not None:
            weight = weight * input_gain
        weight = weight.to(x.dtype)
        scaled = x * styles.to(x.dtype)[:, :, None, None]
        if self.mtm:
            x = self._deformable(x, scaled, weight, w)
        elif self.up:
            x = upsampled_conv2d(scaled, weight)
        else:
            x = F.conv2d(scaled, weight, padding=self.padding)
        if scales is None:
            scales = x.new_ones(1, 1)
        scales = (scales * gain).to(x.dtype)[:, :, None, None]
        if bias is None:
            return x * scales
        return torch.addcmul((bias * gain).to(x.dtype)[None, :, None, None], x, scales)

    def _deformable(self, x: Tensor, scaled: Tensor, weight: Tensor, w: Tensor) -> Tensor:
        dcn_weight, styles, scales = modulation(
            self.dcn_weight, self.dcn_affine(w), demodulate=True, normalize=self.normalize
        )
        assert scales is not None
        field = F.conv2d(x * styles.to(x.dtype)[:, :, None, None], dcn_weight.to(x.dtype), padding=self.padding)
        field = at_least_float32(field)
        field = field * scales[:, :, None, None] * self.dcn_scales + self.dcn_bias
        taps = self.kernel_size**2
        columns = deformable_columns(
            scaled,
            field[:, : 2 * taps],
            2 * torch.sigmoid(field[:, 2 * taps :]),
            self.kernel_size,
            self.padding,
        )
        return torch.matmul(weight.flatten(1), columns).reshape(x.shape[0], -1, *field.shape[2:])
