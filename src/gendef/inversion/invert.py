"""Inversion: find a clip in a generator's latent space, then tune the generator to it (pivotal tuning).

A plain fit gives a canonical image and fields as the first target. `gendef.inversion.stages` holds the four stages.
"""

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gendef._version import __version__
from gendef.errors import ModelError
from gendef.fitting.options import Quality, check_schedule
from gendef.fitting.progress import Progress, ProgressCallback, no_progress
from gendef.geometry import folded_share
from gendef.inversion.latents import Latents, move, paint
from gendef.inversion.objective import Objective
from gendef.inversion.stages import STAGES, Stage
from gendef.inversion.state import InversionState, InversionStateFile
from gendef.inversion.target import Target, find_target, read_square
from gendef.metrics.image_quality import psnr, ssim
from gendef.model.gendef import GenDeF
from gendef.networks.generator import Generator
from gendef.video.canonical_video import CanonicalVideo

SMALLEST_SIDE = 32
"""Pixels of the model's frames that an inversion needs at least."""
FIT_SHARE, STAGES_SHARE = 0.1, 0.88
"""Shares of the progress bar for the plain fit and for the stages."""
RESERVE = 0.04
"""Share of a budget kept for measuring and writing at the end."""
WARM_UP, COOL_DOWN = 0.05, 0.4
"""Shares of a stage in which the learning rate rises and falls."""
PREVIEW_STEPS = 10
"""Steps from one preview of the canonical image to the next."""
RENDERED_AT_ONCE = 32
"""Fields that are generated at a time when the result is made."""


@dataclass(frozen=True)
class InversionOptions:
    """Options of an inversion.

    Attributes:
        quality: number of steps: fast, default or best.
        seed: of all random choices.
        budget: seconds for the whole inversion, instead of the quality's number of steps.

    Raises:
        InputError: one of them is out of its range.
    """

    quality: Quality = "default"
    seed: int = 0
    budget: float | None = None

    def __post_init__(self) -> None:
        check_schedule(self.quality, self.seed, self.budget)


@dataclass(frozen=True)
class Inversion:
    """A clip inside a generator.

    Attributes:
        video: the clip as the tuned generator makes it; its report holds psnr, ssim and more.
        untuned: the clip as the generator itself can make it, before the tuning.
        model: the tuned generator. Its averages w_avg are the clip's latents, so that truncation 0 gives the clip's
            content, and truncation between 0 and 1 what lies between it and other contents.
        latents: of the clip.
        target: of the optimisation.
    """

    video: CanonicalVideo
    untuned: CanonicalVideo
    model: GenDeF
    latents: Latents
    target: Target


def invert(
    source: str | Path,
    model: GenDeF,
    start: int = 0,
    frames: int | None = None,
    options: InversionOptions | None = None,
    on_progress: ProgressCallback = no_progress,
    state_file: InversionStateFile | None = None,
) -> Inversion:
    """Find a clip in a model, and tune a copy of the model to it.

    Args:
        source: a video file, an animated gif, a folder of frames, or a zip of one clip, like what the model makes. It
            is cut to a square and resized to the model's size; `report["warnings"]` says so.
        model: left as it is.
        start, frames: first frame, and how many (default all).
        options: default `InversionOptions()`.
        on_progress: called after every step.
        state_file: from which to continue, and where to save the state now and then.

    Raises:
        DataError: the source cannot be read.
        InputError: an impossible option, or too many frames.
        ModelError: the model's content depends on its motion, so that it has no content of its own.
        MissingDependencyError: OpenCV or the weights of the features are not installed.
    """
    options = options or InversionOptions()
    generator = model.generator
    if generator.config.canonical_motion:
        raise ModelError(f"{model.name} lets its motion change the canonical image (canonical_motion): no inversion")
    began = time.perf_counter()
    scene, footage = read_square(source, model.resolution, start, frames)
    if min(scene.frames[0].shape[:2]) < SMALLEST_SIDE:
        raise ModelError(
            f"{model.name} makes frames of {model.resolution} pixels: an inversion needs {SMALLEST_SIDE} at least"
        )

    def fitting(progress: Progress) -> None:
        on_progress(Progress(f"plain fit, {progress.stage}", FIT_SHARE * progress.done, progress.psnr))

    target = find_target(scene, footage, str(source), options.seed, fitting)
    reached = _run_stages(generator, target, options, on_progress, state_file, began)
    tuned = GenDeF(reached.generator, model.info | {"tuned_to": Path(source).name, "tuned_from": model.name}, "")
    made = {
        "kind": "inversion",
        "made_by": f"gendef {__version__}",
        "source": Path(source).name,
        "frames": [target.numbers[0], target.numbers[-1]],
        "weights": tuned.fingerprint,
        "truncation": 0.0,
        "content_seed": 0,
        "times": None,
        "label": 0 if generator.num_classes else None,
    }
    video = _video(reached.generator, reached.latents, target)
    untuned = _video(generator, reached.latents, target)
    video.info = made
    before = untuned.report
    video.report |= {
        "psnr_before_tuning": before["psnr"],
        "ssim_before_tuning": before["ssim"],
        "steps": sum(reached.steps),
        "seconds": time.perf_counter() - reached.began,
        "warnings": [*target.notes, *(state_file.warnings if state_file else [])],
    }
    return Inversion(video, untuned, tuned, reached.latents, target)


@dataclass
class _Reached:
    """Result of the stages: the tuned generator, the latents, steps of each stage, and when the work began."""

    generator: Generator
    latents: Latents
    steps: list[int]
    began: float


def _run_stages(
    original: Generator,
    target: Target,
    options: InversionOptions,
    on_progress: ProgressCallback,
    state_file: InversionStateFile | None,
    began: float,
) -> _Reached:
    """Run all stages, from the saved state if there is one."""
    saved = state_file.load() if state_file else None
    objective = Objective(original, target, options.seed)
    if saved:
        began = time.perf_counter() - saved.seconds
        steps, latents = list(saved.steps), saved.latents_on(objective.device)
    else:
        steps, latents = [0] * len(STAGES), objective.with_nearest_motion(objective.start_w)
    tuned = copy.deepcopy(original)
    shares = [stage.budget_share for stage in STAGES]
    for number, kind in enumerate(STAGES):
        if saved and number < saved.stage:
            continue
        resumed = saved is not None and number == saved.stage
        stage = kind(objective, tuned)
        latents = stage.prepare(latents, resumed)
        variables = stage.variables(latents)
        for value in variables:
            value.requires_grad_(True)
        optimiser = torch.optim.Adam(variables, betas=(0.9, 0.99), lr=stage.rate)
        if saved and resumed:
            saved.restore(tuned, optimiser)
        schedule = _Schedule(stage, options, began, shares[number] / sum(shares[number:]))
        while (share := schedule.share(steps[number])) < 1:
            for group in optimiser.param_groups:
                group["lr"] = stage.rate * _ramp(share)
            loss, quality = stage.loss(latents, steps[number])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            steps[number] += 1
            within = sum(shares[:number]) + shares[number] * min(schedule.share(steps[number]), 1)
            preview = _preview(tuned, latents) if steps[number] % PREVIEW_STEPS == 0 else None
            on_progress(Progress(stage.name, FIT_SHARE + STAGES_SHARE * within, quality, preview))
            if state_file:
                seconds = time.perf_counter() - began
                state_file.offer(lambda: InversionState.of(number, steps, seconds, latents, tuned, optimiser))  # noqa: B023
        latents = latents.clone()
    tuned.requires_grad_(False)
    tuned.mapping.w_avg.copy_(latents.content[0])
    tuned.motion_mapping.w_avg.copy_(latents.motion[0])
    return _Reached(tuned, latents, steps, began)


@torch.no_grad()
def _preview(generator: Generator, latents: Latents) -> Tensor:
    """The present canonical image, (3, R, R)."""
    return paint(generator, latents.content.detach()).image[0].cpu()


@torch.no_grad()
def _video(generator: Generator, latents: Latents, target: Target) -> CanonicalVideo:
    """The clip as a generator makes it, measured against the target's frames."""
    content = paint(generator, latents.content)
    times = torch.arange(len(target.frames), dtype=torch.float32)
    fields = torch.cat([move(generator, content, latents, part).cpu() for part in times.split(RENDERED_AT_ONCE)])
    video = CanonicalVideo(content.image[0].clamp(-1, 1).cpu(), fields, target.fps)
    shown = video.render()
    quality = psnr(shown, target.frames)
    video.report = {
        "psnr": float(quality.mean()),
        "psnr_min": float(quality.min()),
        "ssim": float(ssim(shown, target.frames).mean()),
        "folded": folded_share(fields),
    }
    return video


class _Schedule:
    """Progress of a stage: by steps, or by time where there is a budget; every stage makes at least one step.

    Args:
        stage: of the inversion.
        options: its quality and budget.
        began: value of `time.perf_counter` at the beginning of the inversion.
        share: the stage's share of the time that is left.
    """

    def __init__(self, stage: Stage, options: InversionOptions, began: float, share: float) -> None:
        self._steps, self._budget = stage.steps[options.quality], options.budget
        if options.budget is not None:
            self._from = time.perf_counter()
            left = max(options.budget * (1 - RESERVE) - (self._from - began), 0.0)
            self._span = left * share

    def share(self, step: int) -> float:
        """Share of the stage that is done before a step; 1 at its end."""
        if self._budget is None:
            return step / self._steps
        if step == 0:
            return 0.0
        return min((time.perf_counter() - self._from) / self._span, 1.0) if self._span > 0 else 1.0


def _ramp(share: float) -> float:
    """Factor on the learning rate at a share of a stage: a linear rise, a plateau, and a fall like a cosine."""
    rise = min(share / WARM_UP, 1.0)
    fall = min((1 - share) / COOL_DOWN, 1.0)
    return max(rise, 0.05) * (0.5 - 0.5 * math.cos(math.pi * fall))
