"""The base of trained models that generate videos: GenDeF and its baselines."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from gendef.model.checkpoint import save_generator
from gendef.model.sampling import SampleRequest, draw_request, hash_of_weights
from gendef.networks.baselines import AnyGenerator

DEFAULT_FPS = 25.0
"""Frame rate of videos if the model does not record that of its data."""

Network = TypeVar("Network", bound=AnyGenerator)
Made = TypeVar("Made")
Planned = TypeVar("Planned")


class VideoModel(ABC, Generic[Network, Planned, Made]):
    """A trained model.

    Args:
        generator: the networks; set to evaluation mode without gradients.
        info: plain values kept with the model (data, images seen, fps, classes).
        name: under which the model was loaded; recorded in the videos it makes.
    """

    has_motion_latent: ClassVar[bool]
    """Whether the generator takes a motion latent beside the motion noise."""

    def __init__(self, generator: Network, info: dict[str, Any] | None = None, name: str = "") -> None:
        generator.eval().requires_grad_(False)
        self.generator: Network = generator
        self.info, self.name = dict(info or {}), name
        self._fingerprint = ""

    @property
    def resolution(self) -> int:
        """Side of the frames in pixels."""
        return self.generator.resolution

    @property
    def fps(self) -> float:
        """Frame rate of the training data."""
        return float(self.info.get("fps") or DEFAULT_FPS)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.generator.parameters()).device

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, 16 hexadecimal digits."""
        self._fingerprint = self._fingerprint or hash_of_weights(self.generator)
        return self._fingerprint

    @property
    def architecture(self) -> str:
        """Text that identifies the shape of the networks, which the hash of the weights does not."""
        return repr(self.generator.config)

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write `model.safetensors` and `config.json`; `half` stores float16 weights."""
        save_generator(folder, self.generator, self.info, half=half)

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
    ) -> Made:
        """Generate a video.

        Args:
            seed: decides content and motion, unless one of them has a seed of its own.
            num_frames: frames 0, 1, 2, ... A longer video begins with the shorter one of the same seed.
            truncation: 1 for full variety; less pulls content and motion towards the average, for cleaner videos.
            content_seed, motion_seed: fix the content or the motion.
            times: times of the frames instead, fractional allowed.
            label: class, for models with classes; default drawn by the content seed.

        Raises:
            InputError: a number is out of range.
        """
        return self._finish(
            self.plan(
                seed,
                num_frames,
                truncation=truncation,
                content_seed=content_seed,
                motion_seed=motion_seed,
                times=times,
                label=label,
            )
        )

    def plan(
        self,
        seed: int = 0,
        num_frames: int = 64,
        *,
        truncation: float = 1.0,
        content_seed: int | None = None,
        motion_seed: int | None = None,
        times: Sequence[float] | Tensor | None = None,
        label: int | None = None,
    ) -> Planned:
        """The video that `sample` would generate, to be computed in chunks; the arguments are those of `sample`.

        Memory does not grow with the number of frames.

        Raises:
            InputError: a number is out of range.
        """
        request = draw_request(
            self.generator,
            seed,
            num_frames,
            truncation=truncation,
            content_seed=content_seed,
            motion_seed=motion_seed,
            times=times,
            label=label,
            has_motion_latent=self.has_motion_latent,
        )
        own = {"made_by": request.info["made_by"], "model": self.name, "weights": self.fingerprint}
        request.info = own | request.info
        return self._plan(request)

    @abstractmethod
    def _plan(self, request: SampleRequest) -> Planned:
        """The plan of a checked request."""

    @abstractmethod
    def _finish(self, plan: Planned) -> Made:
        """All frames of a plan."""
