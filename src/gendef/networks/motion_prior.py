"""Networks of the motion prior: a linear basis of motion, a flow over its coefficients, and a map of what moves.

A motion is a set of key fields (K, h, w, 2): for K times around a reference frame, the offset from each pixel of the
frame at that time to its place in the reference frame. Divided by their speed, such fields of real videos lie close to
a linear space of few dimensions. The prior is a distribution over the coordinates in that space and the speed, given an
image; it is learned by flow matching (Lipman et al. 2023, equation 9; rectified flow, Liu et al. 2023).
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendef.errors import ConfigError
from gendef.networks.efficientnet_lite0 import FEATURE_CHANNELS
from gendef.runtime.config import build_config

IMAGE_SIDE = 128
"""Side of the image that the features are computed of; other images are resized to it."""
LEVELS = ((3, 4),)
"""Feature maps that the flow sees: the level of EfficientNet-Lite0, and the side of the grid it is averaged to. More of
them are soon learned by heart: with strides 16 and 32 the loss on held-out sources rose from the 250th step on."""
MOVING_CELLS = 8
"""Side of the map of what moves as the flow sees it."""


@dataclass(frozen=True)
class MotionPriorConfig:
    """Everything that decides the sizes of a motion prior.

    Attributes:
        key_times: K times in frames; 0, the reference frame, is one of them.
        grid: side of the key fields.
        moving_grid: side of the map of what moves.
        fps: frames a second that the times count.
        components: dimensions of the basis.
        feature_components: channels that each feature map of the image is reduced to.
        width, blocks: of the flow network.
        condition: width of the image's vector.
        labels: domains, such as sky or water.
        speeds: for each label a factor on the speed of its motions; all 1 if there is none. Where few sources were
            trained on, their speed need not be that of most videos of the domain.
    """

    key_times: tuple[float, ...] = tuple(range(-32, 33, 4))
    grid: int = 16
    moving_grid: int = 32
    fps: float = 25.0
    components: int = 96
    feature_components: int = 6
    width: int = 320
    blocks: int = 4
    condition: int = 192
    labels: tuple[str, ...] = ("sky",)
    speeds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("grid", "moving_grid", "components", "feature_components", "width", "blocks", "condition"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if 0 not in self.key_times or list(self.key_times) != sorted(set(self.key_times)):
            raise ConfigError(f"key_times must ascend and hold 0, got {self.key_times}")
        if not self.labels:
            raise ConfigError("a motion prior needs at least one label")
        if self.speeds and (len(self.speeds) != len(self.labels) or min(self.speeds) <= 0):
            raise ConfigError(f"speeds must be a positive number for each of {self.labels}, got {self.speeds}")
        if self.fps <= 0:
            raise ConfigError(f"fps must be positive, got {self.fps}")

    @property
    def values(self) -> int:
        """Numbers in the key fields of one motion."""
        return len(self.key_times) * self.grid * self.grid * 2

    @property
    def image_values(self) -> int:
        """Numbers that describe an image to the flow."""
        return sum(side * side for _, side in LEVELS) * self.feature_components + MOVING_CELLS**2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MotionPriorConfig":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: an unknown field, a wrong type or an impossible value.
        """
        config: MotionPriorConfig = build_config(cls, values, "motion prior")
        return config


class MotionBasis(nn.Module):
    """Principal components of key fields of speed 1, and their standard deviations.

    Attributes:
        mean: (P,), P = K * h * w * 2.
        directions: (D, P), orthonormal rows.
        deviations: (D,), standard deviation of the data along each; coefficients divided by them are "whitened".
        log_speed: (2,), mean and standard deviation of the logarithm of the speed.
    """

    def __init__(self, config: MotionPriorConfig) -> None:
        super().__init__()
        self.config = config
        self.mean: Tensor
        self.directions: Tensor
        self.deviations: Tensor
        self.log_speed: Tensor
        self.register_buffer("mean", torch.zeros(config.values))
        self.register_buffer("directions", torch.zeros(config.components, config.values))
        self.register_buffer("deviations", torch.ones(config.components))
        self.register_buffer("log_speed", torch.tensor([0.0, 1.0]))

    def decode(self, state: Tensor) -> Tensor:
        """State of the flow (B, 1 + D), whitened log speed and whitened coefficients -> fields (B, K, h, w, 2)."""
        flat = self.mean + (state[:, 1:] * self.deviations) @ self.directions
        side = self.config.grid
        shape = (-1, len(self.config.key_times), side, side, 2)
        return flat.reshape(shape) * self.speed(state)[:, None, None, None, None]

    def encode(self, fields: Tensor, speed: Tensor) -> Tensor:
        """The state whose fields are nearest to `fields` (B, K, h, w, 2) at the given speed (B,)."""
        flat = fields.reshape(len(fields), -1) / speed[:, None]
        coefficients = (flat - self.mean) @ self.directions.T / self.deviations
        mean, deviation = self.log_speed
        return torch.cat([((speed.log() - mean) / deviation)[:, None], coefficients], dim=1)

    def speed(self, state: Tensor) -> Tensor:
        """Speed (B,) of states (B, 1 + D): root mean square of the offsets where something moves."""
        mean, deviation = self.log_speed
        return (mean + deviation * state[:, 0]).exp()


class ImageDescription(nn.Module):
    """What the flow sees of an image: its features on fixed axes, and the map of what moves.

    The axes are principal components of the features of the training images, each divided by its deviation.
    """

    def __init__(self, config: MotionPriorConfig) -> None:
        super().__init__()
        for level, _ in LEVELS:
            channels = FEATURE_CHANNELS[level]
            self.register_buffer(f"mean{level}", torch.zeros(channels))
            self.register_buffer(f"axes{level}", torch.zeros(config.feature_components, channels))

    def forward(self, features: list[Tensor], moving: Tensor) -> Tensor:
        """Feature maps (B, C, h, w) of all levels and what moves (B, H, W) -> (B, `image_values`)."""
        parts = []
        for level, side in LEVELS:
            pooled = F.adaptive_avg_pool2d(features[level], side).movedim(1, -1)
            projected = (pooled - getattr(self, f"mean{level}")) @ getattr(self, f"axes{level}").T
            parts.append(projected.flatten(1))
        parts.append(F.adaptive_avg_pool2d(moving[:, None], MOVING_CELLS).flatten(1) * 2 - 1)
        return torch.cat(parts, dim=1)


class MovingMap(nn.Module):
    """Where an image can be expected to move: a classifier of each place by its features at all scales.

    Every label has an output of its own: of a cloud and a road, one moves for "sky" and the other for "driving".
    """

    def __init__(self, config: MotionPriorConfig, width: int = 48) -> None:
        super().__init__()
        self.side = config.moving_grid
        self.reduce = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in FEATURE_CHANNELS)
        self.place = nn.Conv2d(2, width, 1)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, len(config.labels), 1)

    def forward(self, features: list[Tensor], label: Tensor) -> Tensor:
        """Feature maps of all levels and labels (B,) -> logits (B, S, S)."""
        size = (self.side, self.side)
        axis = (2 * torch.arange(self.side, device=label.device, dtype=features[0].dtype) + 1) / self.side - 1
        total = self.place(torch.stack((axis[None].expand(size), axis[:, None].expand(size)))[None])
        for reduce, values in zip(self.reduce, features, strict=True):
            total = total + F.interpolate(reduce(values / 4), size, mode="bilinear", align_corners=False)
        total = F.silu(total)
        logits = self.out(F.silu(total + self.mix(total)))
        return logits[torch.arange(len(label), device=label.device), label]


class MotionFlow(nn.Module):
    """Velocity of the probability flow: a residual network whose layers are modulated by time, image and label."""

    def __init__(self, config: MotionPriorConfig) -> None:
        super().__init__()
        width, condition = config.width, config.condition
        self.image = nn.Sequential(nn.Linear(config.image_values, condition), nn.SiLU())
        self.no_image = nn.Parameter(torch.zeros(condition))
        self.label = nn.Embedding(len(config.labels), condition)
        self.time = nn.Sequential(nn.Linear(TIME_WAVES * 2, condition), nn.SiLU())
        self.mix = nn.Sequential(nn.Linear(condition, condition), nn.SiLU())
        self.enter = nn.Linear(1 + config.components, width)
        self.blocks = nn.ModuleList(_Block(width, condition) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, 1 + config.components)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, state: Tensor, time: Tensor, image: Tensor, label: Tensor, known: Tensor | None = None) -> Tensor:
        """Velocity (B, 1 + D) of `state` (B, 1 + D) at `time` (B,) in [0, 1].

        Args:
            image: description of the image (B, `image_values`).
            label: (B,) integers.
            known: (B,) bool, false where the image shall not be seen.
        """
        seen = self.image(image)
        if known is not None:
            seen = torch.where(known[:, None], seen, self.no_image)
        waves = time[:, None] * torch.arange(1, TIME_WAVES + 1, device=time.device) * math.pi
        condition = self.mix(seen + self.label(label) + self.time(torch.cat((waves.sin(), waves.cos()), dim=1)))
        x = self.enter(state)
        for block in self.blocks:
            x = block(x, condition)
        return self.leave(self.norm(x))


TIME_WAVES = 16


class _Block(nn.Module):
    """A residual block, its normalised input scaled and shifted and its output gated by the condition."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(condition, 3 * width)
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C) -> (B, C)."""
        scale, shift, gate = self.modulate(condition).chunk(3, dim=1)
        return x + (1 + gate) * self.inner(self.norm(x) * (1 + scale) + shift)


def flow_matching_loss(
    flow: MotionFlow,
    state: Tensor,
    image: Tensor,
    label: Tensor,
    *,
    generator: torch.Generator,
    known: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the velocity on straight paths from noise to data, one value a sample, (B,).

    Lipman et al. 2023, equation 23 with sigma_min = 0: x_t = (1 - t) noise + t data, velocity data - noise.
    """
    noise = torch.randn(state.shape, generator=generator)
    time = torch.rand(len(state), generator=generator)
    mixed = torch.lerp(noise, state, time[:, None])
    velocity = flow(mixed, time, image, label, known)
    return (velocity - (state - noise)).square().mean(dim=1)


@torch.no_grad()
def integrate(flow: MotionFlow, noise: Tensor, image: Tensor, label: Tensor, steps: int) -> Tensor:
    """States (B, 1 + D) at time 1 of the flow that starts at `noise` at time 0, by `steps` Euler steps."""
    state = noise
    for step in range(steps):
        time = torch.full((len(state),), step / steps, device=state.device)
        state = state + flow(state, time, image, label) / steps
    return state
