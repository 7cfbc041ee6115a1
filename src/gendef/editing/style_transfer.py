"""Feed-forward style networks on the canonical image (Johnson et al., arXiv 1603.08155), from a file.

The network is applied to the canonical image only, so the style does not flicker.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.errors import InputError, MissingDependencyError, ModelError
from gendef.media.images import resized, to_image_tensor

Style = Callable[[Tensor], Tensor]
STRIDE = 4
"""Style networks have stride 4; sides are padded to multiples of it."""
TANH_GAIN, TANH_OFFSET = 150.0, 127.5
MAX_BYTES = 2**30


def load_style(path: str | Path) -> Style:
    """A style from a file, as a function of an image (3, H, W) in [-1, 1].

    Args:
        path: `.onnx` (input and output (1, 3, H, W), 0 to 255, as in the ONNX model zoo), or the weights of a
            network in `.safetensors` or `.pth` (read without running code): of PyTorch's example `fast_neural_style`,
            or of TensorFlow's `fast-style-transfer` (conv1 to conv4, res0.0 to res4.1, up1, up2, each with weight,
            shift and scale; weights as PyTorch lays them out).

    Raises:
        ModelError: missing, damaged, or of another kind of network.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no style file {path}")
    if path.suffix == ".onnx":
        return _onnx_style(path)
    weights = _read_weights(path)
    for keys, build in ((_torch_keys(), _TorchStyle), (_tensorflow_keys(), _TensorFlowStyle)):
        if keys <= weights.keys():
            return _whole_image(build(weights))
    raise ModelError(
        f"{path} holds no known style network: expected weights of fast_neural_style or fast-style-transfer, "
        f"got {', '.join(sorted(weights)[:3])}, ..."
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{path} is larger than {MAX_BYTES // 2**20} MB: no style network")
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ModelError(f"{path} is not a readable file of weights: {error}") from error
    except Exception as error:  # the restricted unpickler raises an error of a private module
        raise ModelError(f"{path} is not a plain file of weights, and nothing in it was run: {error}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ModelError(f"{path} does not hold a dictionary of tensors")
    return {name: value.float() for name, value in weights.items()}


def _whole_image(network: Callable[[Tensor], Tensor]) -> Style:
    """Around a network of (1, 3, H, W) in [0, 255]: the range, and sides that are multiples of the stride."""

    @torch.no_grad()
    def style(image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        pad = (0, -width % STRIDE, 0, -height % STRIDE)
        pixels = F.pad((image.clamp(-1, 1)[None] + 1) * 127.5, pad, mode="replicate")
        try:
            painted = network(pixels)[0, :, :height, :width]
        except RuntimeError as error:
            raise ModelError(f"the style network cannot process an image of {width}x{height}: {error}") from error
        return (painted / 127.5 - 1).clamp(-1, 1)

    return style


def _normalised(x: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """Instance normalisation of (1, C, H, W)."""
    return F.instance_norm(x, weight=scale.flatten(), bias=shift.flatten(), eps=epsilon)


class _TorchStyle:
    """The network of PyTorch's example: reflection padding, nearest upsampling."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights

    def __call__(self, x: Tensor) -> Tensor:
        for layer, stride in ((1, 1), (2, 2), (3, 2)):
            x = F.relu(self._norm(self._conv(x, f"conv{layer}", stride), f"in{layer}"))
        for block in range(1, 6):
            inner = F.relu(self._norm(self._conv(x, f"res{block}.conv1"), f"res{block}.in1"))
            x = x + self._norm(self._conv(inner, f"res{block}.conv2"), f"res{block}.in2")
        for layer in (1, 2):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.relu(self._norm(self._conv(x, f"deconv{layer}"), f"in{layer + 3}"))
        return self._conv(x, "deconv3")

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self._weights[f"{name}.conv2d.weight"]
        pad = weight.shape[2] // 2
        return F.conv2d(F.pad(x, [pad] * 4, mode="reflect"), weight, self._weights[f"{name}.conv2d.bias"], stride)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return _normalised(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], 1e-5)


class _TensorFlowStyle:
    """The network of fast-style-transfer: TensorFlow's "same" padding, transposed convolutions, tanh at the end."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights

    def __call__(self, x: Tensor) -> Tensor:
        x = x / 255
        for layer, stride in ((1, 1), (2, 2), (3, 2)):
            x = F.relu(self._conv(x, f"conv{layer}", stride))
        for block in range(5):
            x = x + self._conv(F.relu(self._conv(x, f"res{block}.0")), f"res{block}.1")
        for layer in (1, 2):
            # "Same" at stride 2 keeps exactly twice the size: the last row and column of the full result fall away.
            full = F.conv_transpose2d(x, self._weights[f"up{layer}.weight"], stride=2)
            x = F.relu(self._norm(full[..., : 2 * x.shape[2], : 2 * x.shape[3]], f"up{layer}"))
        return TANH_GAIN * torch.tanh(self._conv(x, "conv4")) + TANH_OFFSET

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self._weights[f"{name}.weight"]
        total = weight.shape[2] - stride  # sides are multiples of the stride
        before = total // 2
        x = F.pad(x, (before, total - before, before, total - before))
        return self._norm(F.conv2d(x, weight, stride=stride), name)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return _normalised(x, self._weights[f"{name}.scale"], self._weights[f"{name}.shift"], 1e-3)


def _torch_keys() -> set[str]:
    layers = [f"conv{i}" for i in (1, 2, 3)] + [f"res{i}.conv{j}" for i in range(1, 6) for j in (1, 2)]
    layers += [f"deconv{i}" for i in (1, 2, 3)]
    norms = [f"in{i}" for i in range(1, 6)] + [f"res{i}.in{j}" for i in range(1, 6) for j in (1, 2)]
    parts = [f"{name}.conv2d" for name in layers] + norms
    return {f"{name}.{kind}" for name in parts for kind in ("weight", "bias")}


def _tensorflow_keys() -> set[str]:
    layers = [f"conv{i}" for i in range(1, 5)] + [f"res{i}.{j}" for i in range(5) for j in (0, 1)] + ["up1", "up2"]
    return {f"{name}.{kind}" for name in layers for kind in ("weight", "shift", "scale")}


def _onnx_style(path: Path) -> Style:
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError("onnxruntime", "style", "to run style networks in ONNX files") from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelError(f"{path} is not a readable ONNX file: {error}") from error
    takes: Any = session.get_inputs()[0]
    shape = takes.shape
    if len(session.get_inputs()) != 1 or len(shape) != 4 or shape[1] != 3:
        raise ModelError(f"{path} is no style network: it must take one image (1, 3, H, W), it takes {shape}")
    fixed = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None

    def network(pixels: Tensor) -> Tensor:
        size = pixels.shape[2:]
        if fixed is not None:
            pixels = resized(pixels[0], fixed)[None]
        painted = torch.from_numpy(np.asarray(session.run(None, {takes.name: pixels.numpy()})[0], np.float32))
        if painted.ndim != 4 or painted.shape[:2] != (1, 3):
            raise ModelError(f"{path} is no style network: it gave {tuple(painted.shape)}, not (1, 3, H, W)")
        return resized(painted[0], size)[None]

    return _whole_image(network)


def apply_style(image: Any, style: Style, side: int | None = None) -> Tensor:
    """Paint an image with a style.

    Args:
        image: any image.
        side: shorter side to paint at; the strokes keep their size in pixels, so a larger picture gets finer ones.
            Default: the image's own size.

    Returns:
        (3, h, w) in [-1, 1], at the size that was painted.

    Raises:
        InputError: `side` is less than 16.
    """
    tensor = to_image_tensor(image)
    if side is not None:
        if side < 16:
            raise InputError(f"the side to paint at must be at least 16 pixels, got {side}")
        factor = side / min(tensor.shape[1:])
        tensor = resized(tensor, (round(tensor.shape[1] * factor), round(tensor.shape[2] * factor)))
    return style(tensor)
