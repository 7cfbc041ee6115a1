"""GenDeF: a trained generator of canonical videos, and the plan of one video."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendef.errors import InputError, ModelError
from gendef.model.checkpoint import load_generator, load_other_kind
from gendef.model.compiled_fields import CompiledFields
from gendef.model.hub import find_model
from gendef.model.sampling import SampleRequest, frames_at_once
from gendef.model.video_model import VideoModel
from gendef.networks.generator import Content, Generator, Motion
from gendef.runtime.precision import compute_dtype
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.clip_writer import ClipWriter


class SamplePlan:
    """One video to generate: its content, computed in one call, and its fields in chunks."""

    def __init__(self, model: "GenDeF", request: SampleRequest) -> None:
        self.model, self.request = model, request
        self.times, self.info = request.times, request.info
        with torch.no_grad():
            self.content: Content = model.generator.content(
                request.z_content, request.labels, request.truncation, request.motion_noise, request.times[:1]
            )

    @torch.no_grad()
    def fields(self) -> Iterator[Tensor]:
        """Fields in chunks, (n, R, R, 2), normalised units of the canonical image."""
        generator, request = self.model.generator, self.request
        z_motion = request.z_content if generator.config.shared_latent else request.z_motion
        assert z_motion is not None
        step = frames_at_once(generator.resolution, self.model.device)
        motion = generator.motion(self.content, z_motion, request.labels, request.truncation)
        for times in self.times.split(step):
            yield self.model.deform_at(motion, request.motion_noise, times[None])[0]

    def write(self, folder: str | Path, fps: float) -> Iterator[int]:
        """Generate into a clip folder; yields the number of frames of each chunk once it is written."""
        side = self.model.resolution
        shape = (len(self.times), side, side)
        with ClipWriter(folder, self.content.image[0].cpu(), shape, fps, self.info, {}) as writer:
            for field in self.fields():
                frames = self.model.generator.render(self.content, field[None])[0]
                writer.append(field, frames)
                yield len(field)


class GenDeF(VideoModel[Generator, SamplePlan, CanonicalVideo]):
    """A trained GenDeF model. `sample` gives a `CanonicalVideo`.

    Args:
        generator: the networks; set to evaluation mode without gradients.
        info: plain values kept with the model (data, images seen, fps, classes).
        name: under which the model was loaded; recorded in the videos it makes.
    """

    has_motion_latent = True

    def __init__(self, generator: Generator, info: dict[str, Any] | None = None, name: str = "") -> None:
        super().__init__(generator, info, name)
        # Kept outside of the generator: its copies would share the compiled network, which has the first one's weights.
        self.deform_at: Callable[[Motion, Tensor, Tensor], Tensor] = self.generator.deform_at

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, device: str | torch.device = "cpu", precision: str = "float32"
    ) -> "GenDeF":
        """A built-in model by name, a model folder, or a repository on the Hugging Face hub ("user/name").

        Args:
            precision: of feature maps in sampling: float32, bfloat16 or float16 (nearly the same videos), or auto,
                which is bfloat16 on CUDA GPUs and CPUs with AMX. Inversion is float32 in any case.

        Raises:
            ModelError: there is no such model, its files are damaged, or it is a baseline without a field.
            ConfigError: there is no such precision.
        """
        name = str(name_or_folder)
        folder = find_model(name)
        other = load_other_kind(folder, name, torch.device(device))
        if other is not None:
            return other  # type: ignore[no-any-return]
        generator, info = load_generator(folder)
        if not isinstance(generator, Generator):
            raise ModelError(
                f"{name} is a {generator.config.model} model: it outputs frames directly, without a canonical image"
                " and a field; load it with gendef.load_model"
            )
        generator.compute_dtype = compute_dtype(precision, torch.device(device))
        return cls(generator.to(device), info, name)

    def compile(self) -> "GenDeF":
        """Compile the network of the fields for all later samples; returns this model. See `CompiledFields`."""
        self.deform_at = CompiledFields(self.generator, frames_at_once(self.resolution, self.device))
        return self

    def _plan(self, request: SampleRequest) -> SamplePlan:
        return SamplePlan(self, request)

    def _finish(self, plan: SamplePlan) -> CanonicalVideo:
        fields = torch.cat([chunk.cpu() for chunk in plan.fields()])
        return CanonicalVideo(plan.content.image[0].cpu(), fields, self.fps, info=plan.info)

    def sample_motions(self, video: CanonicalVideo, seeds: Sequence[int]) -> list[CanonicalVideo]:
        """Other motions of the content of a video that this model made; an edited canonical image is kept.

        Raises:
            InputError: the video has no content seed of this model.
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
