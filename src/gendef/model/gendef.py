"""GenDeF, what a user holds: a trained generator that makes canonical videos."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendef._version import __version__
from gendef.errors import InputError, ModelError
from gendef.model.checkpoint import load_generator, save_generator
from gendef.model.compiled_fields import CompiledFields
from gendef.model.hub import find_model
from gendef.networks.generator import (
    Content,
    Generator,
    Motion,
    VideoGenerator,
)
from gendef.runtime.precision import compute_dtype, name_of
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.clip_format import ClipWriter

CHUNK_PIXELS = 2**18
"""Pixels whose fields a processor computes at a time; larger chunks leave the cache and gain nothing."""
GPU_CHUNKS = 8
"""Times as many on a CUDA GPU, which has more to keep busy; not measured."""


def frames_at_once(resolution: int, device: torch.device) -> int:
    """Frames whose fields are computed together."""
    pixels = CHUNK_PIXELS * (GPU_CHUNKS if device.type == "cuda" else 1)
    return max(pixels // resolution**2, 1)


def random_numbers(purpose: str, seed: int) -> torch.Generator:
    """Independent random numbers for every purpose and seed."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def normal_rows(count: int, width: int, generator: torch.Generator) -> Tensor:
    """(count, width) normal values, drawn row by row: fewer rows are the beginning of more."""
    return torch.stack([torch.randn(width, generator=generator) for _ in range(count)])


def checked_times(num_frames: int, times: Sequence[float] | Tensor | None, truncation: float) -> Tensor:
    """The times (T,) that are asked for, in frames.

    Raises:
        InputError: there are none, one is impossible, or the truncation is.
    """
    if times is None:
        if num_frames < 1:
            raise InputError(f"the number of frames must be at least 1, got {num_frames}")
        times = torch.arange(num_frames, dtype=torch.float32)
    chosen = torch.as_tensor(times, dtype=torch.float32).flatten()
    if chosen.numel() == 0 or not torch.isfinite(chosen).all() or float(chosen.min()) < 0:
        raise InputError("times must be at least one finite number of frames, none negative")
    if not 0 <= truncation <= 2:
        raise InputError(f"truncation must be between 0 and 2, got {truncation}")
    return chosen


def draw_label(count: int, label: int | None, noise: torch.Generator) -> tuple[int | None, Tensor | None]:
    """A class of `count`, drawn where none is given, and its one-hot vector (1, count).

    Raises:
        InputError: there is no such class.
    """
    if count == 0:
        if label is not None:
            raise InputError(f"the model has no classes, so label {label} means nothing")
        return None, None
    if label is None:
        label = int(torch.randint(count, (1,), generator=noise))
    if not 0 <= label < count:
        raise InputError(f"label must be between 0 and {count - 1}, got {label}")
    return label, torch.eye(count)[label : label + 1]


def how_made(
    name: str,
    weights: str,
    generator: VideoGenerator,
    content_seed: int,
    motion_seed: int,
    truncation: float,
    times: Tensor,
    label: int | None,
) -> dict[str, Any]:
    """What is kept with a video, so that it can be made again."""
    whole = bool((times == torch.arange(len(times))).all())
    return {
        "made_by": f"gendef {__version__}",
        "model": name,
        "weights": weights,
        "content_seed": content_seed,
        "motion_seed": motion_seed,
        "truncation": float(truncation),
        "times": None if whole else times.tolist(),
        "label": label,
        "precision": name_of(generator.compute_dtype),
    }


def hash_of_weights(network: nn.Module) -> str:
    """16 hexadecimal digits that name the weights."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]


class GenDeF:
    """A trained model.

    Args:
        generator: the networks.
        info: plain values kept with the model (data, images seen, fps, classes).
        name: how the model was asked for; kept in the clips it makes.
    """

    def __init__(self, generator: Generator, info: dict[str, Any] | None = None, name: str = "") -> None:
        self.generator = generator.eval().requires_grad_(False)
        # In the generator, what is compiled would end up in its copies, with the weights of the first.
        self.deform_at: Callable[[Motion, Tensor, Tensor], Tensor] = self.generator.deform_at
        self.info = dict(info or {})
        self.name = name

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, device: str | torch.device = "cpu", precision: str = "float32"
    ) -> "GenDeF":
        """A built-in model by name, a model folder, or a repository on the Hugging Face hub ("user/name").

        Args:
            precision: of feature maps in sampling: float32, bfloat16 or float16 (nearly the same videos), or auto,
                which is bfloat16 on CUDA GPUs and CPUs with AMX. Inversion is float32 in any case.

        Raises:
            ModelError: there is no such model, its files are damaged, or it paints frames and has no field.
            ConfigError: there is no such precision.
        """
        name = str(name_or_folder)
        generator, info = load_generator(find_model(name))
        if not isinstance(generator, Generator):
            raise ModelError(
                f"{name} is a {generator.config.model} model: it paints every frame and has no canonical image and no"
                " field; `gendef sample` and gendef.model.baseline.load_model make its videos"
            )
        generator.compute_dtype = compute_dtype(precision, torch.device(device))
        return cls(generator.to(device), info, name)

    def compile(self) -> "GenDeF":
        """This model, whose videos from now on have fields by a compiled network; see `CompiledFields`."""
        self.deform_at = CompiledFields(self.generator, frames_at_once(self.resolution, self.device))
        return self

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write `model.safetensors` and `config.json`; `half` stores float16 weights."""
        save_generator(folder, self.generator, self.info, half=half)

    @property
    def resolution(self) -> int:
        """Side of the frames."""
        return self.generator.resolution

    @property
    def fps(self) -> float:
        """Frame rate of the data the model learned from."""
        return float(self.info.get("fps") or 25.0)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.generator.parameters()).device

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
        """Generate a video.

        Args:
            seed: decides content and motion, unless one of them has a seed of its own.
            num_frames: frames 0, 1, 2, ... A longer video begins with the shorter one.
            truncation: 1 for full variety; less pulls content and motion towards the average, for cleaner videos.
            content_seed, motion_seed: fix the canonical image or the motion.
            times: ask for these times instead, in frames, fractional allowed.
            label: class, for models with classes; default drawn by the content seed.

        Raises:
            InputError: a number is out of range.
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
        fields = torch.cat([chunk.cpu() for chunk in plan.fields()])
        return CanonicalVideo(plan.content.image[0].cpu(), fields, self.fps, info=plan.info)

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
    ) -> "SamplePlan":
        """What `sample` would generate, to be written in a stream: memory does not grow with the number of frames."""
        return SamplePlan(self, seed, num_frames, truncation, content_seed, motion_seed, times, label)

    def sample_motions(self, video: CanonicalVideo, seeds: Sequence[int]) -> list[CanonicalVideo]:
        """Other motions of the content of a video that this model made; an edited canonical image is kept.

        Raises:
            InputError: the video does not say which content it was made from.
        """
        made = video.info
        if "content_seed" not in made or made.get("weights") != self.fingerprint:
            raise InputError(
                "the video was not made by this model: other motions need the content seed it was made from"
            )
        others = []
        for seed in seeds:
            other = self.sample(
                num_frames=video.num_frames,
                truncation=made["truncation"],
                content_seed=made["content_seed"],
                motion_seed=seed,
                times=made["times"],
                label=made["label"],
            )
            others.append(CanonicalVideo(video.canonical, other.deformation, video.fps, info=other.info))
        return others

    def animate(self, image: Any, **options: Any) -> Any:
        """Any image with the motion that this model's motion prior learned; see `gendef.animate`.

        Args:
            image: as for `gendef.animate`.
            options: of `gendef.animate`.

        Raises:
            ModelError: the model's folder holds no motion prior.
        """
        # Animation lies above models: looked up by name when it is asked for.
        return import_module("gendef.animation.animate").animate(image, self.name, **options)

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, 16 hexadecimal digits."""
        if not hasattr(self, "_fingerprint"):
            self._fingerprint = hash_of_weights(self.generator)
        return self._fingerprint


class SamplePlan:
    """One video to generate: its latents, its content, computed once, and its fields in chunks."""

    def __init__(
        self,
        model: GenDeF,
        seed: int,
        num_frames: int,
        truncation: float,
        content_seed: int | None,
        motion_seed: int | None,
        times: Sequence[float] | Tensor | None,
        label: int | None,
    ) -> None:
        self.times = checked_times(num_frames, times, truncation)
        self.model, self.truncation = model, float(truncation)
        content_seed = seed if content_seed is None else content_seed
        motion_seed = seed if motion_seed is None else motion_seed
        generator, device = model.generator, model.device
        content_noise, motion_noise = random_numbers("content", content_seed), random_numbers("motion", motion_seed)
        z_content = normal_rows(1, generator.z_dim, content_noise).to(device)
        label, labels = draw_label(generator.num_classes, label, content_noise)
        self._labels = None if labels is None else labels.to(device)
        z_motion = normal_rows(1, generator.z_dim, motion_noise).to(device)
        self._z_motion = z_content if generator.config.shared_latent else z_motion
        rows = generator.motion_noise_length(float(self.times.max()))
        self._noise = normal_rows(rows, generator.motion_dim, motion_noise)[None].to(device)
        first = self.times[:1]
        with torch.no_grad():
            self.content: Content = generator.content(z_content, self._labels, self.truncation, self._noise, first)
        self.info = how_made(
            model.name, model.fingerprint, generator, content_seed, motion_seed, truncation, self.times, label
        )

    @torch.no_grad()
    def fields(self) -> Iterator[Tensor]:
        """Fields in chunks, (n, R, R, 2)."""
        generator = self.model.generator
        step = frames_at_once(generator.resolution, self.model.device)
        motion = generator.motion(self.content, self._z_motion, self._labels, self.truncation)
        for start in range(0, len(self.times), step):
            times = self.times[None, start : start + step]
            yield self.model.deform_at(motion, self._noise, times)[0]

    def write(self, folder: str | Path, fps: float) -> Iterator[int]:
        """Generate into a clip folder; yields the number of frames after each chunk."""
        side = self.model.resolution
        shape = (len(self.times), side, side)
        with ClipWriter(folder, self.content.image[0].cpu(), shape, fps, self.info, {}) as writer:
            for field in self.fields():
                frames = self.model.generator.render(self.content, field[None])[0]
                writer.append(field, frames)
                yield len(field)
