"""Modulated convolution (StyleGAN2/3) and the modulated transformation module, MTM (GenDeF section 3.1, StyleSV).

A style scales the input channels and demodulation scales the output channels, so the weights themselves are
shared by the whole batch: scale, ordinary convolution, scale. This is exact, and needs no grouped convolution. Styles
do not depend on time: the frames of one video are a batch of an ordinary convolution with the scales in its weights,
and what it adds for input channels that all frames share is computed once.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.kernels.convolution import conv2d
from gendef.kernels.deformable import deformable_columns, tap_major
from gendef.networks.conv_epilogue import conv_epilogue
from gendef.networks.layers import EqualizedLinear, at_least_float32
from gendef.networks.resample import upsampled_conv2d


def modulation(weight: Tensor, styles: Tensor, *, demodulate: bool, normalize: bool) -> tuple[Tensor, Tensor | None]:
    """Styles and output scales of a modulated convolution: factors of the weights' input and output channels.

    Args:
        weight: (O, I, K, K).
        styles: (B, I).
        demodulate: scale every output map to unit expected variance (Karras et al. 2020, equation 3).
        normalize: first bring weights and styles to unit mean square, the styles over the whole batch (StyleGAN3). The
            factors of the weights are part of the scales.

    Returns:
        styles (B, I), scales (B, O) or None.
    """
    if not demodulate:
        return styles, None
    energy = weight.square().sum(dim=(2, 3))
    if not normalize:
        return styles, (F.linear(styles.square(), energy) + 1e-8).rsqrt()
    styles = styles * styles.square().mean().rsqrt()
    mean_square = energy.mean(dim=1) / weight[0, 0].numel()
    scales = (F.linear(styles.square(), energy / mean_square[:, None]) + 1e-8).rsqrt()
    return styles, scales * mean_square.rsqrt()


@dataclass
class Modulated:
    """Time-independent parts of a modulated convolution, for the videos of a batch.

    Attributes:
        weight: (O, I, K, K); with styles and scales in it where the batch is one video.
        styles: (B, I) factors of the input channels, or None.
        scales: (B or 1, O) factors of the output channels, `gain` among them, or None.
        gain: of the layer, also applied to its bias.
        shared: (B, C, H, W), input channels that all frames of a video share, where the layer samples them itself.
        added: (B, O, H', W'), what the shared channels give, before `scales`.
        offsets: the same for the convolution that gives MTM's offsets and masks.
        tap_major: (K^2 * I, O), the weights as MTM multiplies them.
    """

    weight: Tensor
    styles: Tensor | None
    scales: Tensor | None
    gain: float = 1.0
    shared: Tensor | None = None
    added: Tensor | None = None
    offsets: "Modulated | None" = None
    tap_major: Tensor | None = None


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
        slope: float = 1.0,
        clamp: float | None = None,
    ) -> Tensor:
        """x (B * T, I, H, W), w (B, w_dim), bias (O,) -> (convolution + bias) * gain, (B * T, O, Ho, Wo).

        `input_gain` is a factor on the input, applied to the styles; `slope` and `clamp` as in `convolve`.
        """
        ready = self.modulate(w, x.dtype, input_gain=input_gain, gain=gain)
        return self.convolve(x, ready, bias, slope=slope, clamp=clamp)

    def modulate(
        self,
        w: Tensor,
        dtype: torch.dtype,
        *,
        shared: Tensor | None = None,
        input_gain: Tensor | None = None,
        gain: float = 1.0,
    ) -> Modulated:
        """Everything that does not depend on time, for w (B, w_dim).

        Args:
            dtype: of the activations.
            shared: (B, C, H, W), the last C input channels, the same for all frames of a video.
            input_gain: a factor on the input.
            gain: a factor on the output.
        """
        ready = _ready(*self.factors(w, input_gain), dtype, gain)
        if self.mtm:
            ready.offsets = _ready(*self.offset_factors(w), dtype)
            ready.tap_major = tap_major(ready.weight)
            ready.shared = shared  # sampled at places that differ from frame to frame
        elif shared is not None:
            own = ready.weight.shape[1] - shared.shape[1]
            shared = shared.to(dtype)
            if ready.styles is not None:
                shared = shared * ready.styles[:, own:, None, None]
                ready.styles = ready.styles[:, :own]
            ready.added = self._linear(shared, ready.weight[:, own:])
            ready.weight = ready.weight[:, :own].contiguous()
        return ready

    def factors(self, w: Tensor, input_gain: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weights, styles and output scales, for w (B, w_dim); see `modulation`."""
        styles = self.affine(w)
        if not self.demodulate:
            styles = styles * self.fan_in_gain
        styles, scales = modulation(self.weight, styles, demodulate=self.demodulate, normalize=self.normalize)
        return self.weight, (styles if input_gain is None else styles * input_gain), scales

    def offset_factors(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same for the convolution that gives MTM's offsets and masks."""
        factors = modulation(self.dcn_weight, self.dcn_affine(w), demodulate=True, normalize=self.normalize)
        return self.dcn_weight, *factors

    def convolve(
        self,
        x: Tensor,
        ready: Modulated,
        bias: Tensor | None = None,
        *,
        slope: float = 1.0,
        clamp: float | None = None,
    ) -> Tensor:
        """x (B * T, I, H, W) without the shared channels, bias (O,) -> (convolution + bias) * gain, a new tensor.

        Then a leaky ReLU of `slope` (1 is none), clamped to [-clamp, clamp].
        """
        if ready.shared is not None:
            shared = ready.shared.to(x.dtype).repeat_interleave(len(x) // len(ready.shared), dim=0)
            x = torch.cat((x, shared), dim=1).contiguous(memory_format=torch.channels_last)
        bias = None if bias is None else bias * ready.gain
        y = _per_channel(x, ready.styles)
        if self.mtm:
            assert ready.offsets is not None
            y = self._deformable(_per_channel(x, ready.offsets.styles), y, ready)
        else:
            y = self._linear(y, ready.weight)
        return conv_epilogue(y, bias, ready.scales, ready.added, slope=slope, clamp=clamp)

    def _linear(self, x: Tensor, weight: Tensor) -> Tensor:
        y: Tensor = upsampled_conv2d(x, weight) if self.up else conv2d(x, weight, self.padding)
        return y

    def _deformable(self, x: Tensor, scaled: Tensor, ready: Modulated) -> Tensor:
        """Convolution of `scaled` at the offsets that are computed from `x`, (N, O, H, W)."""
        assert ready.offsets is not None
        field = at_least_float32(F.conv2d(x, ready.offsets.weight, padding=self.padding))
        if ready.offsets.scales is not None:
            field = field * _over_frames(ready.offsets.scales, len(field))
        field = field * self.dcn_scales + self.dcn_bias
        taps = self.kernel_size**2
        masks = 2 * torch.sigmoid(field[:, 2 * taps :])
        columns = deformable_columns(scaled, field[:, : 2 * taps], masks, self.kernel_size, self.padding)
        # Channels last, as all other layers have them.
        assert ready.tap_major is not None
        return torch.matmul(columns, ready.tap_major).unflatten(1, field.shape[2:]).permute(0, 3, 1, 2)


def _ready(weight: Tensor, styles: Tensor, scales: Tensor | None, dtype: torch.dtype, gain: float = 1.0) -> Modulated:
    """Styles, scales and gain of a single video go into the weights, where they cost nothing per pixel."""
    if len(styles) > 1:
        if scales is None and gain != 1.0:
            scales = styles.new_ones(1, len(weight))
        return Modulated(weight.to(dtype), styles.to(dtype), None if scales is None else scales * gain, gain)
    factors = styles * gain if scales is None else scales[0, :, None] * (styles * gain)
    return Modulated((weight * factors[:, :, None, None]).to(dtype), None, None, gain)


def _per_channel(x: Tensor, factors: Tensor | None) -> Tensor:
    return x if factors is None else x * _over_frames(factors, len(x))


def _over_frames(factors: Tensor, frames: int) -> Tensor:
    """(B, C) -> (B * T, C, 1, 1)."""
    return factors.repeat_interleave(frames // len(factors), dim=0)[:, :, None, None]
