"""Equalised linear and convolution layers, activations and the mapping network (StyleGAN, Karras et al. 2018-2021)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.kernels.convolution import conv2d
from gendef.networks.conv_epilogue import conv_epilogue
from gendef.networks.resample import downsample_2x

LEAKY_SLOPE = 0.2
SQRT_2 = math.sqrt(2.0)


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2)."""
    return F.leaky_relu(x, LEAKY_SLOPE) * SQRT_2


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or raised from half precision to float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale each row of `x` (B, D) to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class EqualizedLinear(nn.Module):
    """Linear layer whose weight is stored with unit variance and scaled when used (Karras et al. 2018, section 4.1).

    Args:
        in_features, out_features: widths.
        bias: whether there is a bias, stored as `bias_init` divided by `lr_multiplier`.
        bias_init: value of the effective bias at the start.
        weight_init: standard deviation of the effective weight at the start, times sqrt(in_features).
        lr_multiplier: factor on the effective learning rate.
        activate: apply leaky ReLU with gain sqrt(2).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        bias_init: float = 0.0,
        weight_init: float = 1.0,
        lr_multiplier: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * (weight_init / lr_multiplier))
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier)) if bias else None
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        bias = None if self.bias is None else (self.bias * self.bias_gain).to(x.dtype)
        x = F.linear(x, (self.weight * self.weight_gain).to(x.dtype), bias)
        return leaky_relu(x) if self.activate else x


class EqualizedConv2d(nn.Module):
    """Same-size convolution with equalised weights, optionally followed by a FIR-filtered 2x reduction.

    Args:
        in_channels, out_channels, kernel_size: as usual; the kernel size is odd.
        bias: whether there is a bias.
        activate: leaky ReLU with gain sqrt(2); otherwise linear.
        down: halve the resolution with the [1, 3, 3, 1] filter (Zhang 2019).
        clamp: bound on the output's absolute value, before `gain` of the call.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        bias: bool = True,
        activate: bool = True,
        down: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.activate, self.down, self.clamp = activate, down, clamp

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W), or (B, out_channels, H/2, W/2) with `down`."""
        # The gain may come first: leaky ReLU and all before it are linear in positive factors.
        first = gain * SQRT_2 if self.activate else gain
        weight = (self.weight * (self.weight_gain * first)).to(x.dtype)
        pad = weight.shape[-1] // 2
        if not self.down:
            x = conv2d(x, weight, pad)
        elif pad == 0:
            x = F.conv2d(downsample_2x(x), weight)
        else:
            x = F.conv2d(downsample_2x(x, stride=1, extra=pad), weight, stride=2)
        bias = None if self.bias is None else self.bias * first
        clamp = None if self.clamp is None else self.clamp * gain
        return conv_epilogue(x, bias, slope=LEAKY_SLOPE if self.activate else 1.0, clamp=clamp)


class MappingNetwork(nn.Module):
    """Latent and label to intermediate latent w, with a running mean of w for truncation.

    Args:
        z_dim: width of the latent, 0 for a network of the condition alone.
        w_dim: width of w and of the hidden layers.
        num_layers: number of leaky ReLU layers.
        condition_dim: width of the condition (class labels, or time features), 0 for none.
        lr_multiplier: learning-rate multiplier of the hidden layers.
        track_average: keep `w_avg`, the running mean of w that truncation pulls towards.
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        num_layers: int,
        *,
        condition_dim: int = 0,
        lr_multiplier: float = 0.01,
        track_average: bool = True,
    ) -> None:
        super().__init__()
        self.z_dim, self.condition_dim, self.num_layers = z_dim, condition_dim, num_layers
        if condition_dim:
            self.embed = EqualizedLinear(condition_dim, w_dim)
        width = z_dim + (w_dim if condition_dim else 0)
        for index in range(num_layers):
            self.add_module(f"fc{index}", EqualizedLinear(width, w_dim, lr_multiplier=lr_multiplier, activate=True))
            width = w_dim
        self.w_avg: Tensor
        if track_average:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor | None, condition: Tensor | None = None) -> Tensor:
        """z (B, z_dim) and condition (B, condition_dim) -> w (B, w_dim), before truncation."""
        parts = [normalize_second_moment(at_least_float32(z))] if self.z_dim and z is not None else []
        if self.condition_dim:
            if condition is None:
                raise ValueError(f"this network needs a condition of width {self.condition_dim}")
            parts.append(normalize_second_moment(self.embed(at_least_float32(condition))))
        w = torch.cat(parts, dim=1)
        for index in range(self.num_layers):
            w = self.get_submodule(f"fc{index}")(w)
        return w

    def truncate(self, w: Tensor, truncation: float) -> Tensor:
        """Pull w towards its mean: 1 leaves it, 0 gives the mean (Karras et al. 2019, appendix B)."""
        return w if truncation == 1.0 else self.w_avg.lerp(w, truncation)

    @torch.no_grad()
    def update_average(self, w: Tensor, decay: float = 0.998) -> None:
        """Move the running mean towards the mean of `w` (B, w_dim)."""
        self.w_avg.copy_(w.detach().float().mean(dim=0).lerp(self.w_avg, decay))
