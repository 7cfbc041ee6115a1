"""The generator's layers as the papers write them, to compare speed and values with.

One weight tensor for every frame (a grouped convolution), f_c joined to every frame, zero insertion and depthwise
filters around the leaky ReLU. Slow on purpose; the values are those of the fast path, to rounding.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.kernels.cpu import winograd
from gendef.kernels.cpu.fir import smoothing_kernel
from gendef.kernels.deformable import tap_major
from gendef.networks.modulated import Modulated, ModulatedConv2d
from gendef.networks.resample import FilteredLeakyReLU

_fast_convolve = ModulatedConv2d.convolve


@contextmanager
def literal_path() -> Iterator[None]:
    """Inside the block, all generators compute the literal way; for one thread at a time, and for measuring only."""
    fast = [(layer, name, getattr(layer, name)) for layer, name, _ in _LITERAL]
    try:
        for layer, name, function in _LITERAL:
            setattr(layer, name, function)
        yield
    finally:
        for layer, name, function in fast:
            setattr(layer, name, function)


@contextmanager
def direct_convolutions() -> Iterator[None]:
    """Inside the block, convolutions take all the products of their definition; for one thread at a time."""
    least = winograd.MIN_TILES
    winograd.MIN_TILES = sys.maxsize
    try:
        yield
    finally:
        winograd.MIN_TILES = least


def _modulate(
    self: ModulatedConv2d,
    w: Tensor,
    dtype: torch.dtype,
    *,
    shared: Tensor | None = None,
    input_gain: Tensor | None = None,
    gain: float = 1.0,
) -> Modulated:
    weight, styles, scales = self.factors(w, input_gain)
    if self.mtm and gain != 1.0:
        assert scales is not None  # layers with a gain are demodulated
        scales = scales * gain
    ready = Modulated(weight.to(dtype), styles.to(dtype), scales, gain, shared)
    if self.mtm:
        offsets = self.offset_factors(w)
        ready.offsets = Modulated(offsets[0].to(dtype), offsets[1].to(dtype), offsets[2])
        ready.ordered = (tap_major(ready.weight),)
    return ready


def _convolve(
    self: ModulatedConv2d,
    x: Tensor,
    ready: Modulated,
    bias: Tensor | None = None,
    *,
    slope: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    if self.mtm:  # deformable convolution has one form here
        return _fast_convolve(self, x, ready, bias, slope=slope, clamp=clamp)
    frames = len(x)
    if ready.shared is not None:
        x = torch.cat((x, ready.shared.repeat_interleave(frames // len(ready.shared), dim=0)), dim=1)
    assert ready.styles is not None
    own = ready.weight * ready.styles.repeat_interleave(frames // len(ready.styles), dim=0)[:, None, :, None, None]
    if ready.scales is not None:
        scales = ready.scales.to(x.dtype)
        own = (
            own
            * scales.expand(len(ready.styles), -1).repeat_interleave(frames // len(ready.styles), dim=0)[
                :, :, None, None, None
            ]
        )
    flat = x.contiguous().flatten(0, 1)[None]
    if self.up:
        y = F.conv_transpose2d(flat, own.transpose(1, 2).flatten(0, 1), stride=2, groups=frames)
        y = F.conv2d(y, smoothing_kernel(y, 4.0), padding=1, groups=y.shape[1])
    else:
        y = F.conv2d(flat, own.flatten(0, 1), padding=self.padding, groups=frames)
    y = y.unflatten(1, (frames, -1))[0]
    if bias is not None:
        y = y + bias.to(y.dtype)[None, :, None, None]
    y = F.leaky_relu(y * ready.gain, slope)
    return y if clamp is None else y.clamp(-clamp, clamp)


def _filtered(self: FilteredLeakyReLU, x: Tensor) -> Tensor:
    filters, channels = self.filters, x.shape[1]
    if filters.up > 1:
        stretched = x.new_zeros(*x.shape[:2], x.shape[2] * filters.up, x.shape[3] * filters.up)
        stretched[..., :: filters.up, :: filters.up] = x
        x = stretched
    x = F.pad(x, [filters.pad_low, filters.pad_high] * 2)
    x = _filter(x, torch.from_numpy(filters.up_taps * filters.up).to(x), channels)
    x = F.leaky_relu(x, self.slope) * self.gain
    if self.clamp is not None:
        x = x.clamp(-self.clamp, self.clamp)
    x = _filter(x, torch.from_numpy(filters.down_taps).to(x), channels)
    return x[..., :: filters.down, :: filters.down]


def _filter(x: Tensor, taps: Tensor, channels: int) -> Tensor:
    """One depthwise filter a direction."""
    taps = taps.flip(0).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(x, taps, groups=channels), taps.transpose(2, 3), groups=channels)


_LITERAL: tuple[tuple[type, str, Any], ...] = (
    (ModulatedConv2d, "modulate", _modulate),
    (ModulatedConv2d, "convolve", _convolve),
    (FilteredLeakyReLU, "forward", _filtered),
)
