"""Models that paint every frame (the rivals of GenDeF), for whoever wants their videos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.media.images import to_uint8
from gendef.media.video_writer import (
    write_gif,
    write_video,
)
from gendef.model.checkpoint import load_generator, load_other_kind
from gendef.model.gendef import (
    CHUNK_PIXELS,
    GenDeF,
    checked_times,
    draw_label,
    hash_of_weights,
    how_made,
    normal_rows,
    random_numbers,
)
from gendef.model.hub import find_model
from gendef.networks.baselines import PaintingGenerator
from gendef.networks.generator import Generator
from gendef.runtime.precision import compute_dtype


@dataclass
class PaintedVideo:
    """Frames (T, 3, H, W) in [-1, 1] and how they were made; nothing about them can be edited or followed."""

    frames: Tensor
    fps: float
    info: dict[str, Any] = field(default_factory=dict)

    def render(self) -> Tensor:
        """The frames, (T, 3, H, W) in [-1, 1]."""
        return self.frames

    def _pictures(self) -> Iterator[np.ndarray]:
        return (to_uint8(frame) for frame in self.frames)

    def to_mp4(self, path: str | Path, *, enlarge: bool = False) -> None:
        """Write it as H.264; `enlarge` repeats the pixels of small frames."""
        write_video(path, self._pictures(), self.fps, enlarge=enlarge)

    def to_gif(self, path: str | Path) -> None:
        """Write it as an endless gif."""
        write_gif(path, self._pictures(), self.fps)


class PaintingModel:
    """A trained model that paints every frame.

    Args:
        generator: the networks.
        info: plain values kept with the model.
        name: how the model was asked for.
    """

    def __init__(self, generator: PaintingGenerator, info: dict[str, Any] | None = None, name: str = "") -> None:
        self.generator = generator.eval().requires_grad_(False)
        self.info, self.name = dict(info or {}), name
        self.fingerprint = hash_of_weights(generator)

    @property
    def kind(self) -> str:
        """Which rival it is, such as "stylegan-v"."""
        return self.generator.config.model

    @property
    def resolution(self) -> int:
        """Side of the frames."""
        return self.generator.resolution

    @property
    def fps(self) -> float:
        """Frame rate of the data the model learned from."""
        return float(self.info.get("fps") or 25.0)

    @torch.no_grad()
    def sample(
        self,
        seed: int = 0,
        num_frames: int = 64,
        *,
        truncation: float = 1.0,
        content_seed: int | None = None,
        motion_seed: int | None = None,
        times: Sequence[float] | Tensor | None = None,
        label: int | None = None,
    ) -> PaintedVideo:
        """Generate a video; the arguments are those of `GenDeF.sample`.

        Raises:
            InputError: a number is out of range.
        """
        generator = self.generator
        device = next(generator.parameters()).device
        chosen = checked_times(num_frames, times, truncation)
        content_seed = seed if content_seed is None else content_seed
        motion_seed = seed if motion_seed is None else motion_seed
        content, motion = random_numbers("content", content_seed), random_numbers("motion", motion_seed)
        z_content = normal_rows(1, generator.z_dim, content).to(device)
        label, labels = draw_label(generator.num_classes, label, content)
        rows = generator.motion_noise_length(float(chosen.max()))
        noise = normal_rows(rows, generator.motion_dim, motion)[None].to(device)
        w = generator.style(z_content, None if labels is None else labels.to(device), truncation)
        codes = generator.motion_encoder(noise, chosen[None])
        step = max(CHUNK_PIXELS // generator.resolution**2, 1)
        frames = torch.cat([generator.paint(w, part)[0].cpu() for part in codes.split(step, dim=1)])
        info = how_made(self.name, self.fingerprint, generator, content_seed, motion_seed, truncation, chosen, label)
        return PaintedVideo(frames, self.fps, info)


def load_model(
    name_or_folder: str | Path, *, device: str | torch.device = "cpu", precision: str = "float32"
) -> GenDeF | PaintingModel:
    """A model of either sort: by built-in name, folder, or hub repository; `precision` as for `GenDeF`.

    Raises:
        ModelError: there is no such model, or its files are damaged. ConfigError: there is no such precision.
    """
    name = str(name_or_folder)
    folder = find_model(name)
    other = load_other_kind(folder, name, torch.device(device))
    if other is not None:
        return other  # type: ignore[no-any-return]
    generator, info = load_generator(folder)
    generator = generator.to(device)
    generator.compute_dtype = compute_dtype(precision, torch.device(device))
    return GenDeF(generator, info, name) if isinstance(generator, Generator) else PaintingModel(generator, info, name)
