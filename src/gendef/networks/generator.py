"""The whole generator: G_c gives the canonical image, G_d the field, warping the frames (GenDeF, equation 1)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gendef.errors import ConfigError
from gendef.geometry import identity_grid, warp
from gendef.networks.canonical_generator import build_canonical
from gendef.networks.deformation_generator import DeformationGenerator
from gendef.networks.generator_config import GeneratorConfig
from gendef.networks.layers import MappingNetwork
from gendef.networks.modulated import Modulated
from gendef.networks.motion_encoder import MotionEncoder


@dataclass
class Content:
    """Outputs of G_c, computed once per video: image (B, 3, R, R), feature f_c (B, C, h, w)."""

    image: Tensor
    feature: Tensor

    def repeat(self, count: int) -> "Content":
        """Each content `count` times in a row."""
        return Content(self.image.repeat_interleave(count, 0), self.feature.repeat_interleave(count, 0))


Motion = list[list[Modulated]]
"""Modulated convolutions of the deformation generator for the videos of a batch."""


@dataclass
class GeneratorOutput:
    """video (B, T, 3, R, R), canonical (B, 3, R, R), deformation (B, T, R, R, 2)."""

    video: Tensor
    canonical: Tensor
    deformation: Tensor


class VideoGenerator(nn.Module):
    """Base of the generators of videos: `config`, `motion_encoder`, and the parameters that stage 1 trains."""

    config: GeneratorConfig
    motion_encoder: nn.Module
    compute_dtype: torch.dtype | None = None
    """Type of the feature maps; None: that of the weights, in which latents, styles, demodulation, motion codes, fields
    and images are computed in any case."""
    content_modules: tuple[str, ...]
    """Names of the modules and parameters of the image generator."""

    @property
    def resolution(self) -> int:
        """Side of the frames."""
        return self.config.resolution

    @property
    def z_dim(self) -> int:
        """Width of the latents."""
        return self.config.z_dim

    @property
    def motion_dim(self) -> int:
        """Width of the motion noise."""
        return self.config.motion.noise_dim

    @property
    def num_classes(self) -> int:
        """Classes of the labels, 0 for none."""
        return self.config.num_classes

    def motion_noise_length(self, last_time: float) -> int:
        """Rows of motion noise that times in [0, last_time] need."""
        return cast(int, self.motion_encoder.noise_length(last_time))  # type: ignore[operator]

    def content_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the image generator and its mapping network, which stage 1 trains."""
        for name, parameter in self.named_parameters():
            if name.split(".")[0] in self.content_modules:
                yield parameter

    def motion_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of everything else."""
        content = {id(parameter) for parameter in self.content_parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in content)


class Generator(VideoGenerator):
    """GenDeF's generator.

    Shapes: z_content, z_motion (B, z_dim); motion_noise (B, N, motion_dim) with N >= `motion_noise_length`;
    times (B, T) >= 0 in frames, fractional allowed; labels (B, num_classes); truncation 1 is none.
    """

    content_modules = ("mapping", "canonical", "canonical_motion_encoder", "motion_mask")

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        motion_dim = config.motion.code_dim
        if config.canonical_motion and motion_dim != config.w_dim:
            raise ConfigError(f"canonical_motion needs 2 * num_features == w_dim, got {motion_dim}, {config.w_dim}")
        self.mapping = self._mapping()
        self.canonical = build_canonical(
            config.resolution, config.canonical, config.w_dim, motion_dim if config.canonical_motion else 0
        )
        if config.canonical_motion:
            self.canonical_motion_encoder = MotionEncoder(config.motion)
            self.motion_mask = nn.Parameter(torch.zeros(1, motion_dim))
        self.motion_mapping = self._mapping()
        self.motion_encoder = MotionEncoder(config.motion)
        self.deformation = DeformationGenerator(
            config.resolution, config.deformation, config.w_dim, motion_dim, self.canonical.feature_channels
        )

    def _mapping(self) -> MappingNetwork:
        config = self.config
        return MappingNetwork(config.z_dim, config.w_dim, config.mapping_layers, condition_dim=config.num_classes)

    def images(self, z_content: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Canonical images (B, 3, R, R) alone: what stage 1 trains."""
        return self.content(z_content, labels, truncation).image

    def content(
        self,
        z_content: Tensor,
        labels: Tensor | None = None,
        truncation: float = 1.0,
        motion_noise: Tensor | None = None,
        first_time: Tensor | None = None,
    ) -> Content:
        """The canonical image and f_c; motion_noise and first_time (B,) only with `canonical_motion`."""
        w = self.mapping(z_content, labels)
        if self.training and torch.is_grad_enabled():
            self.mapping.update_average(w)
        w = self.mapping.truncate(w, truncation)
        motion = None
        if self.config.canonical_motion:
            if motion_noise is None or first_time is None:
                raise ValueError("canonical_motion needs the motion noise and the first time")
            code = self.canonical_motion_encoder(motion_noise, first_time[:, None])[:, 0]
            motion = code * self.motion_mask
        return Content(*self.canonical(w, motion, dtype=self.compute_dtype))

    def deform(
        self,
        content: Content,
        z_motion: Tensor,
        motion_noise: Tensor,
        times: Tensor,
        labels: Tensor | None = None,
        truncation: float = 1.0,
    ) -> Tensor:
        """Deformation field (B, T, R, R, 2), normalised units of the canonical image."""
        return self.deform_at(self.motion(content, z_motion, labels, truncation), motion_noise, times)

    def motion(
        self, content: Content, z_motion: Tensor, labels: Tensor | None = None, truncation: float = 1.0
    ) -> Motion:
        """The time-independent part of the deformation generator for a content, computed once per video."""
        w = self.motion_mapping(z_motion, labels)
        if self.training and torch.is_grad_enabled():
            self.motion_mapping.update_average(w)
        w = self.motion_mapping.truncate(w, truncation)
        return self.deformation.modulate(w, content.feature)

    def deform_at(
        self,
        motion: Motion,
        motion_noise: Tensor,
        times: Tensor,
        *,
        network: Callable[[Tensor, Motion], Tensor] | None = None,
    ) -> Tensor:
        """Deformation field (B, T, R, R, 2) at times (B, T); `network` replaces the deformation generator."""
        offsets = (network or self.deformation)(self.motion_encoder(motion_noise, times), motion)
        return from_official_offsets(offsets) if self.config.official_grid else offsets

    def render(self, content: Content, deformation: Tensor) -> Tensor:
        """Warp the canonical images: (B, T, 3, R, R)."""
        return warp(content.image, deformation, padding="zeros" if self.config.official_grid else "border")

    def forward(
        self,
        z_content: Tensor,
        z_motion: Tensor | None = None,
        motion_noise: Tensor | None = None,
        times: Tensor | None = None,
        truncation: float = 1.0,
        labels: Tensor | None = None,
    ) -> GeneratorOutput:
        """Videos from latents, motion noise and times."""
        if motion_noise is None or times is None:
            raise ValueError("motion_noise and times are needed")
        if self.config.shared_latent:
            z_motion = z_content
        elif z_motion is None:
            raise ValueError("z_motion is needed unless the model has shared_latent")
        content = self.content(z_content, labels, truncation, motion_noise, times[:, 0])
        deformation = self.deform(content, z_motion, motion_noise, times, labels, truncation)
        return GeneratorOutput(self.render(content, deformation), content.image, deformation)


def from_official_offsets(offsets: Tensor) -> Tensor:
    """Offsets for the official grid and corner alignment -> the deformation field with the same sampling positions.

    The official code reads at g = 2i/N - 1 + offset with -1 and 1 at the centres of the outer pixels.
    """
    height, width = offsets.shape[-3:-1]
    size = torch.tensor([width, height], dtype=offsets.dtype, device=offsets.device)
    grid = identity_grid(height, width, device=offsets.device, dtype=offsets.dtype)
    corner_aligned = grid - 1 / size + offsets
    pixels = (corner_aligned + 1) / 2 * (size - 1)
    return (2 * pixels + 1) / size - 1 - grid
