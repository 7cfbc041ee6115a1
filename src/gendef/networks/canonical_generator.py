"""The canonical image generator G_c (GenDeF section 3.2): StyleGAN3, or StyleGAN2 for small and CPU presets.

Both turn w (B, w_dim) into the canonical image and the canonical feature f_c, the output of one layer.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.errors import ConfigError
from gendef.networks.canonical_config import CanonicalConfig, LayerPlan, plan_layers
from gendef.networks.layers import LEAKY_SLOPE, SQRT_2, EqualizedLinear, at_least_float32
from gendef.networks.modulated import ModulatedConv2d
from gendef.networks.resample import FilteredLeakyReLU, Filters, design_lowpass, upsample_2x


class FourierInput(nn.Module):
    """Fourier features on a plane that w may rotate and shift (Karras et al. 2021, appendix F)."""

    def __init__(self, plan: LayerPlan, w_dim: int, motion_dim: int) -> None:
        super().__init__()
        channels = plan.channels
        frequencies = torch.randn(channels, 2)
        radius = frequencies.square().sum(dim=1, keepdim=True).sqrt()
        frequencies = frequencies / (radius * radius.square().exp().pow(0.25)) * plan.cutoff
        self.freqs: Tensor
        self.phases: Tensor
        self.register_buffer("freqs", frequencies)
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = EqualizedLinear(w_dim, 4, weight_init=0.0)
        with torch.no_grad():
            assert self.affine.bias is not None
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        if motion_dim:
            self.motion_affine = EqualizedLinear(motion_dim, channels)
        self.size, self.sampling_rate, self.bandwidth = plan.size, plan.sampling_rate, plan.cutoff

    def forward(self, w: Tensor, motion: Tensor | None) -> Tensor:
        """w (B, w_dim) and an optional motion code (B, motion_dim) -> (B, C, size, size)."""
        transform = self.affine(w)
        transform = transform / transform[:, :2].norm(dim=1, keepdim=True)
        cos, sin, shift_x, shift_y = transform.unbind(dim=1)
        # Rotation by (cos, sin) after a shift by -(shift_x, shift_y), applied to the frequencies.
        rotated_x = self.freqs[:, 0] * cos[:, None] + self.freqs[:, 1] * sin[:, None]  # (B, C)
        rotated_y = self.freqs[:, 1] * cos[:, None] - self.freqs[:, 0] * sin[:, None]
        phases = self.phases - rotated_x * shift_x[:, None] - rotated_y * shift_y[:, None]
        radius = torch.hypot(rotated_x, rotated_y)
        fade = (1 - (radius - self.bandwidth) / (self.sampling_rate / 2 - self.bandwidth)).clamp(0, 1)
        centres = (torch.arange(self.size, device=w.device, dtype=w.dtype) + 0.5) / self.size - 0.5
        centres = centres * (self.size / self.sampling_rate)
        angle = rotated_x[:, None, None, :] * centres[None, None, :, None]
        angle = angle + rotated_y[:, None, None, :] * centres[None, :, None, None] + phases[:, None, None, :]
        x = torch.sin(angle * (2 * math.pi)) * fade[:, None, None, :]
        x = x @ (self.weight / math.sqrt(self.weight.shape[1])).t()
        if motion is not None:
            x = x + self.motion_affine(motion)[:, None, None, :]
        return x.permute(0, 3, 1, 2).contiguous()


class AliasFreeLayer(nn.Module):
    """One StyleGAN3 layer: modulated convolution and filtered leaky ReLU."""

    def __init__(
        self,
        before: LayerPlan,
        after: LayerPlan,
        w_dim: int,
        *,
        is_output: bool,
        mtm: bool,
        clamp: float | None,
    ) -> None:
        super().__init__()
        kernel = 1 if is_output else 3
        taps_per_factor = 6
        rate = max(before.sampling_rate, after.sampling_rate) * (1 if is_output else 2)
        up, down = round(rate / before.sampling_rate), round(rate / after.sampling_rate)
        up_count = taps_per_factor * up if up > 1 and not is_output else 1
        down_count = taps_per_factor * down if down > 1 and not is_output else 1
        total = (after.size - 1) * down + 1 - (before.size + kernel - 1) * up + up_count + down_count - 2
        pad_low = (total + up) // 2
        self.conv = ModulatedConv2d(
            before.channels,
            after.channels,
            kernel,
            w_dim,
            demodulate=not is_output,
            normalize=not is_output,
            mtm=mtm,
            padding=kernel - 1,
        )
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.magnitude_ema: Tensor
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.activation = FilteredLeakyReLU(
            before.size + kernel - 1,
            Filters(
                design_lowpass(up_count, before.cutoff, before.half_width * 2, rate),
                design_lowpass(down_count, after.cutoff, after.half_width * 2, rate),
                up,
                down,
                pad_low,
                total - pad_low,
            ),
            gain=1.0 if is_output else SQRT_2,
            slope=1.0 if is_output else LEAKY_SLOPE,
            clamp=clamp,
        )

    def forward(self, x: Tensor, w: Tensor, update_magnitude: bool) -> Tensor:
        """(B, C, size, size) -> (B, C', size', size')."""
        if update_magnitude:
            with torch.no_grad():
                magnitude = x.detach().float().square().mean()
                self.magnitude_ema.copy_(magnitude.lerp(self.magnitude_ema, 0.999))
        return self.activation(self.conv(x, w, input_gain=self.magnitude_ema.rsqrt(), bias=self.bias))


class StyleGAN3Canonical(nn.Module):
    """StyleGAN3-T with optional MTM layers and an optional motion code (the official networks feed one)."""

    def __init__(self, resolution: int, config: CanonicalConfig, w_dim: int, motion_dim: int = 0) -> None:
        super().__init__()
        if resolution < 32 or resolution & (resolution - 1):
            raise ConfigError(f"StyleGAN3 needs a resolution that is a power of two from 32, got {resolution}")
        plans = plan_layers(resolution, config)
        self.num_layers, self.output_scale = config.num_layers, config.output_scale
        layer = config.num_layers - 1 if config.feature_layer is None else config.feature_layer
        if not 0 <= layer <= config.num_layers:
            raise ConfigError(f"canonical.feature_layer must be in [0, {config.num_layers}], got {layer}")
        self.feature_layer, self.feature_channels = layer, plans[layer].channels
        self.input = FourierInput(plans[0], w_dim, motion_dim)
        if motion_dim:
            self.affine_w = EqualizedLinear(w_dim + motion_dim, w_dim)
        self.layers = nn.ModuleList(
            AliasFreeLayer(
                plans[max(index - 1, 0)],
                plan,
                w_dim,
                is_output=index == config.num_layers,
                mtm=plan.size in config.mtm_sizes and index < config.num_layers,
                clamp=config.conv_clamp,
            )
            for index, plan in enumerate(plans)
        )
        self.layer_names = [f"L{index}_{plan.size}_{plan.channels}" for index, plan in enumerate(plans)]

    def forward(
        self, w: Tensor, motion: Tensor | None = None, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """w (B, w_dim), motion code (B, motion_dim) -> image (B, 3, R, R), f_c (B, C, h, w) in `dtype`."""
        styles = w if motion is None else self.affine_w(torch.cat((w, motion), dim=1))
        x = self.input(w, motion).to(dtype)
        feature = x
        for index, layer in enumerate(self.layers):
            x = at_least_float32(x) if index == self.num_layers else x
            x = layer(x, styles, self.training and torch.is_grad_enabled())
            if index == self.feature_layer:
                feature = x
        return x * self.output_scale, feature


class StyleGAN2Canonical(nn.Module):
    """StyleGAN2 with skip outputs and without noise inputs: the image lives in the latent alone."""

    def __init__(self, resolution: int, config: CanonicalConfig, w_dim: int) -> None:
        super().__init__()
        if resolution < 8 or resolution & (resolution - 1):
            raise ConfigError(f"StyleGAN2 needs a resolution that is a power of two from 8, got {resolution}")
        sizes = [2**power for power in range(2, int(math.log2(resolution)) + 1)]
        widths = [min(config.channel_base // size, config.channel_max) for size in sizes]
        last = 2 * len(sizes) - 2
        layer = last if config.feature_layer is None else config.feature_layer
        if not 0 <= layer <= last + 1:
            raise ConfigError(f"canonical.feature_layer must be in [0, {last + 1}], got {layer}")
        self.feature_layer = layer
        self.feature_channels = 3 if layer == last + 1 else widths[(layer + 1) // 2]
        self.clamp, self.output_scale = config.conv_clamp, config.output_scale
        self.const = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.convs, self.biases = nn.ModuleList(), nn.ParameterList()
        self.outputs, self.output_biases = nn.ModuleList(), nn.ParameterList()
        for index, (size, width) in enumerate(zip(sizes, widths, strict=True)):
            mtm = size in config.mtm_sizes
            if index > 0:
                self.convs.append(ModulatedConv2d(widths[index - 1], width, 3, w_dim, up=True))
                self.biases.append(nn.Parameter(torch.zeros(width)))
            self.convs.append(ModulatedConv2d(width, width, 3, w_dim, mtm=mtm))
            self.biases.append(nn.Parameter(torch.zeros(width)))
            self.outputs.append(ModulatedConv2d(width, 3, 1, w_dim, demodulate=False))
            self.output_biases.append(nn.Parameter(torch.zeros(3)))

    def forward(
        self, w: Tensor, motion: Tensor | None = None, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """w (B, w_dim) -> image (B, 3, R, R), f_c (B, C, h, w) in `dtype`; takes no motion code."""
        assert motion is None
        x = self.const.to(dtype).expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        feature = x
        for index, (conv, bias) in enumerate(zip(self.convs, self.biases, strict=True)):
            x = conv(x, w, bias=bias, gain=SQRT_2, slope=LEAKY_SLOPE, clamp=self.clamp)
            if index == self.feature_layer:
                feature = x
            if index % 2 == 0:  # a block ends
                block = index // 2
                rgb = self.outputs[block](at_least_float32(x), w, bias=self.output_biases[block])
                image = rgb if image is None else upsample_2x(image) + rgb
        assert image is not None
        image = image * self.output_scale
        return image, image.to(dtype) if self.feature_layer == len(self.convs) else feature


def build_canonical(
    resolution: int, config: CanonicalConfig, w_dim: int, motion_dim: int = 0
) -> StyleGAN3Canonical | StyleGAN2Canonical:
    """The generator that `config.kind` names.

    Raises:
        ConfigError: the resolution or a field does not fit.
    """
    if config.kind == "stylegan3":
        return StyleGAN3Canonical(resolution, config, w_dim, motion_dim)
    if motion_dim:
        raise ConfigError("canonical_motion needs canonical.kind stylegan3")
    return StyleGAN2Canonical(resolution, config, w_dim)


def resize_feature(feature: Tensor, size: int) -> Tensor:
    """f_c (B, C, h, w) resized bilinearly to (B, C, size, size)."""
    if feature.shape[-1] == size:
        return feature
    return F.interpolate(feature, size=(size, size), mode="bilinear", align_corners=False)
