"""Models whose networks output frames directly (the baselines of GenDeF), and loading a model of either kind."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.media.animated_pictures import write_gif
from gendef.media.images import to_uint8
from gendef.media.video_writer import write_video
from gendef.model.checkpoint import load_generator, load_other_kind
from gendef.model.gendef import GenDeF
from gendef.model.hub import find_model
from gendef.model.sampling import SampleRequest, frames_at_once
from gendef.model.video_model import VideoModel
from gendef.networks.baselines import BaselineGenerator
from gendef.networks.generator import Generator
from gendef.runtime.precision import compute_dtype


@dataclass
class BaselineVideo:
    """Frames (T, 3, H, W) in [-1, 1] and how they were made. It has no canonical image, so it cannot be edited."""

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


class BaselinePlan:
    """One video to generate: its motion codes, computed in one call, and its frames in chunks."""

    def __init__(self, model: "BaselineModel", request: SampleRequest) -> None:
        self.model, self.info = model, request.info
        generator = model.generator
        with torch.no_grad():
            self._w = generator.style(request.z_content, request.labels, request.truncation)
            self._codes = generator.motion_encoder(request.motion_noise, request.times[None])

    @torch.no_grad()
    def frames(self) -> Iterator[Tensor]:
        """Frames in chunks, (n, 3, R, R) in about [-1, 1]."""
        step = frames_at_once(self.model.resolution, self.model.device)
        for codes in self._codes.split(step, dim=1):
            yield self.model.generator.synthesize(self._w, codes)[0]


class BaselineModel(VideoModel[BaselineGenerator, BaselinePlan, BaselineVideo]):
    """A trained model that outputs frames directly. `sample` gives a `BaselineVideo`."""

    has_motion_latent = False

    @property
    def kind(self) -> str:
        """Which baseline it is, such as "stylegan-v"."""
        return self.generator.config.model

    def _plan(self, request: SampleRequest) -> BaselinePlan:
        return BaselinePlan(self, request)

    def _finish(self, plan: BaselinePlan) -> BaselineVideo:
        return BaselineVideo(torch.cat([chunk.cpu() for chunk in plan.frames()]), self.fps, plan.info)


def load_model(
    name_or_folder: str | Path, *, device: str | torch.device = "cpu", precision: str = "float32"
) -> GenDeF | BaselineModel:
    """A GenDeF model or a baseline, by built-in name, folder, or hub repository; `precision` as for `GenDeF`.

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
    return GenDeF(generator, info, name) if isinstance(generator, Generator) else BaselineModel(generator, info, name)
