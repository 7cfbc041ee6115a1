"""Baselines of GenDeF's Table 1: video generators that output every frame directly instead of warping one image.

- stylegan-v: a StyleGAN2 generator whose constant input is concatenated with the frame's motion code (Skorokhodov et
  al. 2022, section 3.1).
- stylesv-mtm: GenDeF's canonical generator, whose styles are shifted by the motion code (StyleSV, Zhang et al. 2022,
  with MTM layers): exactly GenDeF without the field.
- mocogan: the synthesis network of stylegan-v on the codes of an autoregressive LSTM (MoCoGAN, Tulyakov et al. 2018,
  with a StyleGAN2 image generator).
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from gendef.errors import ConfigError
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.canonical_generator import build_canonical
from gendef.networks.deformation_generator import DeformationBlock
from gendef.networks.generator import Generator, VideoGenerator
from gendef.networks.generator_config import DeformationConfig, GeneratorConfig, MotionConfig
from gendef.networks.layers import EqualizedLinear, MappingNetwork
from gendef.networks.motion_encoder import MotionEncoder
from gendef.networks.resample import upsample_2x
from gendef.runtime.devices import sent

STYLE_START = 0.1
"""Standard deviation of the motion code's part of the styles at the start. A still video is a saddle point, which a
short training does not leave; with this value videos move a little from the first step."""


class RecurrentMotion(nn.Module):
    """Motion noise to motion codes by an LSTM that takes one noise vector per frame (MoCoGAN, section 3).

    The first row of the noise is the state before frame 0. Codes between frames are interpolated.
    """

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.recurrence = nn.LSTM(config.noise_dim, config.code_dim, batch_first=True)
        self.start = EqualizedLinear(config.noise_dim, config.code_dim)

    def noise_length(self, last_time: float) -> int:
        """Rows of motion noise that times in [0, last_time] need."""
        return math.floor(last_time) + 3

    def forward(self, noise: Tensor, times: Tensor) -> Tensor:
        """noise (B, N, noise_dim), times (B, T) >= 0 in frames, fractional allowed -> codes (B, T, code_dim).

        Times may be on the CPU while the rest is on a GPU, as for `MotionEncoder`.

        Raises:
            ValueError: a time is negative or needs more noise than there is.
        """
        times = times.cpu()
        needed = self.noise_length(float(times.max()))
        if float(times.min()) < 0 or noise.shape[1] < needed:
            raise ValueError(f"times in [0, {float(times.max())}] need {needed} rows of noise, got {noise.shape[1]}")
        hidden = torch.tanh(self.start(noise[:, 0]))[None]
        states, _ = self.recurrence(noise[:, 1:needed], (hidden, torch.zeros_like(hidden)))
        index = torch.floor(times).long()
        pick = sent(index, states.device)[:, :, None].expand(-1, -1, states.shape[-1])
        share = sent(times - index, states.device)[:, :, None].to(states.dtype)
        return torch.lerp(torch.gather(states, 1, pick), torch.gather(states, 1, pick + 1), share)


class FrameSynthesis(nn.Module):
    """StyleGAN2 with skip outputs, without noise inputs; the motion code is concatenated to the constant input."""

    def __init__(self, resolution: int, config: CanonicalConfig, w_dim: int, motion_dim: int) -> None:
        super().__init__()
        if resolution < 8 or resolution & (resolution - 1):
            raise ConfigError(f"this network needs a resolution that is a power of two from 8, got {resolution}")
        sizes = [2**power for power in range(2, int(math.log2(resolution)) + 1)]
        widths = [min(config.channel_base // size, config.channel_max) for size in sizes]
        # Its layers are those of the deformation generator, without f_c and with three output channels instead of two.
        layers = DeformationConfig(
            channel_base=config.channel_base,
            channel_max=config.channel_max,
            condition_dim=0,
            mtm_resolutions=config.mtm_sizes,
            conv_clamp=config.conv_clamp,
        )
        self.const = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.output_scale = config.output_scale
        self.blocks = nn.ModuleList(
            DeformationBlock(
                size,
                widths[0] + motion_dim if index == 0 else widths[index - 1],
                widths[index],
                3,
                w_dim,
                0,
                layers,
                is_last=size == resolution,
            )
            for index, size in enumerate(sizes)
        )

    def forward(self, w: Tensor, codes: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """w (B, w_dim), motion codes (B, T, motion_dim), type of the feature maps -> frames (B, T, 3, R, R)."""
        batch, count = codes.shape[:2]
        no_feature = w.new_zeros(batch, 1, 4, 4, dtype=dtype)
        plane = codes.flatten(0, 1)[:, :, None, None].expand(-1, -1, 4, 4)
        x = torch.cat((self.const.expand(batch * count, -1, -1, -1), plane), dim=1)
        image: Tensor | None = None
        for block in cast(list[DeformationBlock], list(self.blocks)):
            ready = block.modulate(w, no_feature)
            x, rgb = block(x.to(ready[0].weight.dtype), ready)
            image = rgb if image is None else upsample_2x(image) + rgb
        assert image is not None
        return (image * self.output_scale).unflatten(0, (batch, count))


class BaselineGenerator(VideoGenerator):
    """A generator that outputs every frame directly: there is no canonical image and no field.

    Shapes: z_content (B, z_dim); motion_noise (B, N, motion_dim) with N >= `motion_noise_length`; times (B, T) >= 0 in
    frames, fractional allowed; labels (B, num_classes); truncation 1 is none.
    """

    content_modules = ("mapping", "canonical", "painter")

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        if config.shared_latent or config.canonical_motion or config.official_grid:
            raise ConfigError(f"shared_latent, canonical_motion and official_grid are not options of {config.model}")
        self.config = config
        code_dim = config.motion.code_dim
        self.mapping = MappingNetwork(
            config.z_dim, config.w_dim, config.mapping_layers, condition_dim=config.num_classes
        )
        recurrent = config.model == "mocogan"
        self.motion_encoder = RecurrentMotion(config.motion) if recurrent else MotionEncoder(config.motion)
        if config.model == "stylesv-mtm":
            # Named as in GenDeF: both start stage 2 from the same image generator.
            self.canonical = build_canonical(config.resolution, config.canonical, config.w_dim)
            self.motion_style = EqualizedLinear(code_dim, config.w_dim, weight_init=STYLE_START)
        else:
            # The name is part of saved models.
            self.painter = FrameSynthesis(config.resolution, config.canonical, config.w_dim, code_dim)

    @property
    def begins_at_zero(self) -> bool:
        """Whether clips are trained from time 0 on: an LSTM reaches late times through all earlier ones."""
        return isinstance(self.motion_encoder, RecurrentMotion)

    def style(self, z_content: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """The latent w (B, w_dim) of a video's content."""
        w = self.mapping(z_content, labels)
        if self.training and torch.is_grad_enabled():
            self.mapping.update_average(w)
        return self.mapping.truncate(w, truncation)

    def images(self, z_content: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Still images (B, 3, R, R) of the image generator alone: stage 1 of stylesv-mtm."""
        return self.canonical(self.style(z_content, labels, truncation), dtype=self.compute_dtype)[0]

    def synthesize(self, w: Tensor, codes: Tensor) -> Tensor:
        """w (B, w_dim), motion codes (B, T, code_dim) -> frames (B, T, 3, R, R)."""
        if self.config.model != "stylesv-mtm":
            return self.painter(w, codes, self.compute_dtype)
        styles = w[:, None] + self.motion_style(codes)
        return self.canonical(styles.flatten(0, 1), dtype=self.compute_dtype)[0].unflatten(0, codes.shape[:2])

    def forward(
        self,
        z_content: Tensor,
        motion_noise: Tensor,
        times: Tensor,
        truncation: float = 1.0,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Videos (B, T, 3, R, R)."""
        return self.synthesize(self.style(z_content, labels, truncation), self.motion_encoder(motion_noise, times))


AnyGenerator = Generator | BaselineGenerator


def build_generator(config: GeneratorConfig) -> AnyGenerator:
    """The generator that `config.model` names.

    Raises:
        ConfigError: a field does not fit.
    """
    return Generator(config) if config.model == "gendef" else BaselineGenerator(config)
