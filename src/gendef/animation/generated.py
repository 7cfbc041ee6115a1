"""Generated videos of a latent model: an image from its prior, moved by a motion prior."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef._version import __version__
from gendef.animation.animate import animate
from gendef.animation.long_motion import LongMotion
from gendef.animation.prior import CONFIG, MotionPrior
from gendef.errors import InputError, ModelError
from gendef.geometry import identity_grid
from gendef.model.gendef import GenDeF
from gendef.model.latent import LatentImages
from gendef.model.sampling import checked_times
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.clip_writer import ClipWriter
from gendef.video.layered_video import LayeredVideo

MARGIN = 4
"""The canonical image is continued by mirror images for this part of its side on each side: what comes in from beyond
the border is cloud or road again, instead of drawn-out pixels."""
CHUNK = 16
"""Frames whose fields are computed together."""


class LatentGenDeF(GenDeF):
    """A model whose canonical images come from a latent prior and whose fields from a motion prior.

    Args:
        images: the image side.
        motion: the motion side; None for a model of images alone, which makes no videos.
        name: how the model was asked for; kept in the clips it makes.
    """

    def __init__(self, images: LatentImages, motion: MotionPrior | None, name: str = "") -> None:
        self.images, self.motion = images, motion
        self.info, self.name = images.info, name
        self._fingerprint = images.fingerprint

    @classmethod
    def load(cls, folder: Path, name: str, device: torch.device) -> "LatentGenDeF":
        """The model in a folder, with the motion prior beside it or the built-in one that its info names.

        Raises:
            ModelError: a file is damaged, the folder holds an autoencoder alone, or there is no such motion prior.
        """
        images = LatentImages.from_pretrained(folder, device=device)
        motion = folder if (folder / CONFIG).is_file() else images.info.get("motion")
        return cls(images, None if motion is None else MotionPrior.from_pretrained(motion), name)

    def compile(self) -> "GenDeF":
        """
        Raises:
            InputError: always; the fields of a latent model come from no network that could be compiled.
        """
        raise InputError(f"{self.name} draws its fields from a basis and has nothing to compile: leave compile out")

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write `model.safetensors` and `config.json`, and the motion prior beside them."""
        self.images.save_pretrained(folder, half=half)
        if self.motion is not None:
            self.motion.save(folder, half=half)

    def animate(self, image: Any, **options: Any) -> CanonicalVideo | LayeredVideo:
        """Any image with the motion of this model's prior; see `gendef.animate`.

        Raises:
            ModelError: the model has no motion prior.
        """
        if self.motion is None:
            raise ModelError(f"{self.name} makes images and has no motion prior")
        return animate(image, self.motion, **options)

    @property
    def generator(self) -> NoReturn:  # type: ignore[override]
        """
        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.name} is a latent model, and this needs a GAN's generator: choose a GAN, such as sky")

    @property
    def architecture(self) -> str:
        """Text that differs for networks of other shapes, which may have equal weights."""
        motion = None if self.motion is None else self.motion.config
        return repr((self.images.autoencoder.config, self.images.prior.config, motion))

    @property
    def resolution(self) -> int:
        """Side of the frames."""
        return self.images.resolution

    @property
    def fps(self) -> float:
        """Frame rate of the motion prior."""
        return 25.0 if self.motion is None else self.motion.fps

    @property
    def device(self) -> torch.device:
        """Where the image networks are."""
        return self.images.device

    @property
    def fingerprint(self) -> str:
        """Hash of the weights of the image networks, 16 hexadecimal digits."""
        return self._fingerprint

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
    ) -> CanonicalVideo:
        """Generate a video; the arguments are those of `GenDeF.sample`. Truncation acts on the image.

        Raises:
            InputError: a number is out of range. ModelError: the model has no motion prior.
        """
        plan = self.plan(
            seed,
            num_frames,
            truncation=truncation,
            content_seed=content_seed,
            motion_seed=motion_seed,
            times=times,
            label=label,
        )
        return CanonicalVideo(plan.image, torch.cat(list(plan.fields())), self.fps, info=plan.info)

    def plan(  # type: ignore[override]
        self,
        seed: int = 0,
        num_frames: int = 64,
        *,
        truncation: float = 1.0,
        content_seed: int | None = None,
        motion_seed: int | None = None,
        times: Sequence[float] | Tensor | None = None,
        label: int | None = None,
    ) -> "LatentPlan":
        """What `sample` would generate, to be written in a stream: memory does not grow with the number of frames."""
        if label is not None:
            raise InputError(f"the model has no classes, so label {label} means nothing")
        chosen = checked_times(num_frames, times)
        content_seed = seed if content_seed is None else content_seed
        motion_seed = seed if motion_seed is None else motion_seed
        return LatentPlan(self, content_seed, motion_seed, truncation, chosen)


class LatentPlan:
    """One video to generate: its image, computed once, and its fields in chunks.

    Attributes:
        image: (3, C, C) canonical image, the middle of which is the model's image of R = C - 2 M.
        times: (T,) of the frames.
        info: how the video was made.
    """

    def __init__(
        self, model: LatentGenDeF, content_seed: int, motion_seed: int, truncation: float, times: Tensor
    ) -> None:
        if model.motion is None:
            raise ModelError(
                f"{model.name} makes images and has no motion prior: copy motion.json and motion.safetensors of one"
                " into its folder"
            )
        self.times = times
        middle = model.images.image(content_seed, truncation=truncation)
        self._motion, self._side = LongMotion(model.motion, middle, motion_seed), model.resolution
        margin = self._side // MARGIN
        self.image = F.pad(middle[None], (margin, margin, margin, margin), mode="reflect")[0]
        whole = bool((times == torch.arange(len(times))).all())
        self.info = {
            "made_by": f"gendef {__version__}",
            "model": model.name,
            "weights": model.fingerprint,
            "content_seed": content_seed,
            "motion_seed": motion_seed,
            "truncation": float(truncation),
            "times": None if whole else times.tolist(),
            "label": None,
            "precision": "float32",
        }

    def fields(self) -> Iterator[Tensor]:
        """Fields in chunks, (n, R, R, 2), normalised units of the canonical image."""
        grid = identity_grid(self._side, self._side)
        for part in self.times.split(CHUNK):
            share = self._side / self.image.shape[1]
            yield (grid + self._motion.at_pixels(part)) * share - grid

    def write(self, folder: str | Path, fps: float) -> Iterator[int]:
        """Generate into a clip folder; yields the number of frames after each chunk."""
        shape = (len(self.times), self._side, self._side)
        with ClipWriter(folder, self.image, shape, fps, self.info, {}) as writer:
            for field in self.fields():
                writer.append(field, CanonicalVideo(self.image, field, fps).render())
                yield len(field)
