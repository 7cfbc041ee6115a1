"""Inversion: find a clip in a generator's latent space, then tune the generator to it.

The canonical image and the fields of a plain fit are the first aim; then the frames themselves are. The tuning is
pivotal tuning (Roich et al., arXiv 2106.05744, section 3): the latents stay, the weights move, and random neighbours of
the latents must go on giving what they gave.
"""

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gendef._version import __version__
from gendef.errors import ModelError
from gendef.fitting.schedule import Moment, Options, Watcher
from gendef.geometry import folded_share
from gendef.geometry.regularization import folding_penalty, spatial_smoothness, temporal_smoothness
from gendef.inversion.distance import PictureDistance
from gendef.inversion.latents import Latents, move, nearest_content, nearest_motion, paint, random_w
from gendef.inversion.state import Progress, ProgressFile
from gendef.inversion.target import Target, find_target, read_square
from gendef.metrics.image_quality import psnr, ssim
from gendef.model.gendef import GenDeF, normal_rows, random_numbers
from gendef.networks.generator import Generator
from gendef.video.canonical_video import CanonicalVideo

STAGES = ("content", "motion", "together", "tuning")
STEPS: dict[str, tuple[int, ...]] = {
    "fast": (100, 100, 60, 150),
    "default": (200, 200, 120, 400),
    "best": (400, 400, 300, 1500),
}
SHARES = (0.08, 0.08, 0.14, 0.7)
"""Share of the seconds of a budget for each stage, after the plain fit."""
RATES = (0.05, 0.03, 0.01, 0.003)
"""Largest learning rate of each stage."""
SEEDS, MOTIONS = 512, 48
"""Random contents and motions among which the search begins."""
FRAMES_A_STEP, LOOKED_AT = 4, 2
"""Frames of a step, besides three neighbours for the smoothness loss; and how many of them are compared by features."""
SMOOTHNESS, BENDING, FOLDING = 1.0, 0.02, 1.0
"""Weights of the losses on fields: the paper's, and those of the built-in models' training."""
GUIDANCE, CANONICAL = 0.05, 0.5
"""Weights of the distance to the fields of the plain fit, in pixels, and to its canonical image, once it is tuned."""
TYPICAL = 0.01
"""Weight of what keeps latents where the generator learned: noise of variance one, w within its spread."""
NEIGHBOURS, NEIGHBOURS_EVERY = 1.0, 2
"""Weight of what keeps the tuned generator as it was for other latents, and the steps from one to the next of it."""
WARM_UP, COOL_DOWN = 0.05, 0.4
"""Shares of a stage in which the learning rate rises and falls."""


@dataclass(frozen=True)
class Inversion:
    """A clip inside a generator.

    Attributes:
        video: the clip as the tuned generator makes it; its report holds psnr, ssim and more.
        untuned: the clip as the generator itself can make it, before the tuning.
        model: the tuned generator. Its averages w_avg are the clip's latents, so that truncation 0 gives the clip's
            content, and truncation between 0 and 1 what lies between it and other contents.
        latents: of the clip.
        target: what was aimed at.
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
    options: Options | None = None,
    watcher: Watcher = lambda moment: None,
    progress_file: ProgressFile | None = None,
) -> Inversion:
    """Find a clip in a model, and tune a copy of the model to it.

    Args:
        source: a video file, an animated gif, a folder of frames, or a zip of one clip, like what the model makes. It
            is cut to a square and resized to the model's size; `target.notes` says so.
        model: left as it is.
        start, frames: first frame, and how many (default all).
        options: quality, seed and budget, as of a fit.
        watcher: called after every step.
        progress_file: where to continue from, and where to save what is reached now and then.

    Raises:
        DataError: the source cannot be read.
        InputError: an impossible option, or too many frames.
        ModelError: the model's content depends on its motion, so that it has no content of its own.
        MissingDependencyError: OpenCV or the weights of the features are not installed.
    """
    options = options or Options()
    generator = model.generator
    if generator.config.canonical_motion:
        raise ModelError(f"{model.name} lets its motion change the canonical image (canonical_motion): no inversion")
    began = time.perf_counter()
    scene, footage = read_square(source, model.resolution, start, frames)
    if min(scene.frames[0].shape[:2]) < 32:
        raise ModelError(f"{model.name} makes frames of {model.resolution} pixels: an inversion needs 32 at least")

    def fitting(moment: Moment) -> None:
        watcher(Moment(f"plain fit, {moment.stage}", 0.1 * moment.done, moment.psnr))

    target = find_target(scene, footage, str(source), options.seed, fitting)
    search = _Search(generator, target, options)
    reached = search.run(watcher, progress_file, began)
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
    video = search.video(reached.generator, reached.latents)
    untuned = search.video(generator, reached.latents)
    video.info = made
    before = untuned.report
    video.report |= {
        "psnr_before_tuning": before["psnr"],
        "ssim_before_tuning": before["ssim"],
        "steps": sum(reached.steps),
        "seconds": time.perf_counter() - reached.began,
        "notes": target.notes,
    }
    return Inversion(video, untuned, tuned, reached.latents, target)


@dataclass
class _Reached:
    generator: Generator
    latents: Latents
    steps: list[int]
    began: float


class _Search:
    """The four stages."""

    def __init__(self, generator: Generator, target: Target, options: Options) -> None:
        self.original, self.target, self.options = generator, target, options
        self.device = next(generator.parameters()).device
        self.frames = target.frames.to(self.device)
        self.canonical = target.canonical[None].to(self.device)
        self.fields, self.trusted = target.fields.to(self.device), target.trusted.to(self.device)
        self.times = torch.arange(len(self.frames), dtype=torch.float32)
        self.distance = PictureDistance(self.device)
        with torch.no_grad():
            self.canonical_features = self.distance.features(self.canonical)

    def run(self, watcher: Watcher, file: ProgressFile | None, began: float) -> _Reached:
        """All stages, from where the file says they were stopped."""
        options, steps = self.options, [0] * len(STAGES)
        kept = file.load() if file else None
        w, self.spread = nearest_content(
            self.original,
            self.canonical,
            lambda images: self.distance(images, self.canonical, self.canonical_features),
            SEEDS,
            options.seed,
        )
        self.spread = self.spread.clamp(min=1e-3)
        if kept:
            began = time.perf_counter() - kept.seconds
            steps, latents = list(kept.steps), kept.latents_on(self.device)
        else:
            latents = self._with_motion(w)
        self.tuned = copy.deepcopy(self.original)
        for number, stage in enumerate(STAGES):
            if kept and number < kept.stage:
                continue
            if number == 3:
                self.pivot = latents.clone()
            parameters = self._parameters(number, latents)
            optimiser = torch.optim.Adam(parameters, betas=(0.9, 0.99), lr=RATES[number])
            first = 0
            if kept and number == kept.stage:
                kept.restore(self.tuned, optimiser)
                first = kept.steps[number]
            if number == 1 and first == 0:
                latents = self._with_motion(latents.content.detach())
                parameters = self._parameters(number, latents)
                optimiser = torch.optim.Adam(parameters, betas=(0.9, 0.99), lr=RATES[number])
            schedule = _Schedule(number, STEPS[options.quality][number], options.budget, began)
            step = first
            while (share := schedule.share(step)) < 1:
                for group in optimiser.param_groups:
                    group["lr"] = RATES[number] * _ramp(share)
                loss, quality = self._loss(number, latents, step)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                step += 1
                steps[number] = step
                done = 0.1 + 0.88 * (sum(SHARES[:number]) + SHARES[number] * min(schedule.share(step), 1))
                watcher(Moment(stage, done, quality, self._preview(latents, step)))
                if file:
                    seconds = time.perf_counter() - began
                    file.offer(lambda: Progress.of(number, steps, seconds, latents, self.tuned, optimiser))  # noqa: B023
            latents = latents.clone()
        self.tuned.requires_grad_(False)
        self.tuned.mapping.w_avg.copy_(latents.content[0])
        self.tuned.motion_mapping.w_avg.copy_(latents.motion[0])
        return _Reached(self.tuned, latents, steps, began)

    def _with_motion(self, w: Tensor) -> Latents:
        """The nearest random motion for a content."""
        with torch.no_grad():
            content = paint(self.original, w)
        latents = nearest_motion(self.original, content, self.fields, self.trusted, MOTIONS, self.options.seed)
        latents.content = w
        return latents.clone()

    def _parameters(self, stage: int, latents: Latents) -> list[Tensor]:
        """What a stage changes."""
        if stage == 3:
            parts: list[nn.Module] = [self.tuned.canonical, self.tuned.deformation, self.tuned.motion_encoder]
            parameters: list[Tensor] = [value for part in parts for value in part.parameters()]
        else:
            motion = [latents.motion, latents.noise]
            parameters = {0: [latents.content], 1: motion, 2: [latents.content, *motion]}[stage]
        for value in parameters:
            value.requires_grad_(True)
        return parameters

    def _loss(self, stage: int, latents: Latents, step: int) -> tuple[Tensor, float]:
        """The loss of a step, and the PSNR of its frames."""
        if stage == 0:
            image = paint(self.original, latents.content).image
            far = self.distance(image, self.canonical, self.canonical_features)
            return far.mean() + TYPICAL * self._untypical(latents), float(psnr(image.detach(), self.canonical))
        numbers = random_numbers(f"inversion-step-{STAGES[stage]}-{step}", self.options.seed)
        some = self._some_frames(numbers)
        if stage == 1:
            with torch.no_grad():
                content = paint(self.original, latents.content)
            fields = move(self.original, content, latents, self.times[some])
            return self._guidance(fields, some) + TYPICAL * self._untypical(latents), float("nan")
        generator = self.tuned if stage == 3 else self.original
        content = paint(generator, latents.content)
        fields = move(generator, content, latents, self.times[some])
        shown = generator.render(content, fields[None])[0]
        loss = self.distance.of_batch(shown, self.frames[some], LOOKED_AT)
        loss = loss + GUIDANCE * self._guidance(fields, some)
        if stage == 2:
            loss = loss + TYPICAL * self._untypical(latents)
        else:
            loss = loss + CANONICAL * (content.image - self.canonical).abs().mean()
            if step % NEIGHBOURS_EVERY == 0:
                loss = loss + NEIGHBOURS * self._unlike_before(numbers)
        near = fields[-3:][None]
        loss = loss + BENDING * spatial_smoothness(fields[None]) + FOLDING * folding_penalty(fields)
        if len(self.frames) >= 3:
            loss = loss + SMOOTHNESS * temporal_smoothness(near, shown[-3:-2].detach())
        return loss, float(psnr(shown.detach(), self.frames[some]).mean())

    def _some_frames(self, numbers: torch.Generator) -> Tensor:
        """Random frames and, last, three neighbours."""
        count = len(self.frames)
        some = torch.randint(count, (min(FRAMES_A_STEP, count),), generator=numbers)
        if count >= 3:
            first = int(torch.randint(count - 2, (1,), generator=numbers))
            some = torch.cat((some, torch.arange(first, first + 3)))
        return some

    def _guidance(self, fields: Tensor, some: Tensor) -> Tensor:
        """Mean distance to the fields of the plain fit in pixels, where those are trusted."""
        gap = (fields - self.fields[some]).norm(dim=-1) * (fields.shape[1] / 2)
        weight = self.trusted[some]
        return (gap * weight).sum() / weight.sum().clamp(min=1)

    def _untypical(self, latents: Latents) -> Tensor:
        """How far latents are from what the generator has seen; about 1 or less for random ones."""
        w = ((latents.content - self.original.mapping.w_avg) / self.spread).square().mean()
        mean, variance = latents.noise.mean(), latents.noise.var()
        return w + mean.square() + (variance - 1).square()

    def _unlike_before(self, numbers: torch.Generator) -> Tensor:
        """How differently the tuned generator treats a neighbour of the clip's latents (PTI, equation 5)."""
        pivot, seed = self.pivot, int(torch.randint(2**31, (1,), generator=numbers))
        share = float(torch.rand((1,), generator=numbers))
        content_w = pivot.content.lerp(random_w(self.original, 1, seed), share)
        motion_w = pivot.motion.lerp(random_w(self.original, 1, seed, "motion"), share)
        noise = normal_rows(pivot.noise.shape[1], self.original.motion_dim, numbers)[None].to(self.device)
        times = torch.rand((1,), generator=numbers) * self.times[-1] + torch.arange(3)
        times = times[times <= self.times[-1]] if len(self.times) > 3 else self.times
        latents = Latents(pivot.content, motion_w, noise)
        with torch.no_grad():
            image = paint(self.original, content_w).image
            wanted = move(self.original, paint(self.original, pivot.content), latents, times)
        same_image = (paint(self.tuned, content_w).image - image).abs().mean() * share
        fields = move(self.tuned, paint(self.tuned, pivot.content), latents, times)
        bent = (fields - wanted).norm(dim=-1).mean() * (fields.shape[1] / 2)
        return same_image + 0.1 * bent

    def _preview(self, latents: Latents, step: int) -> Tensor | None:
        if step % 10:
            return None
        with torch.no_grad():
            return paint(self.tuned, latents.content.detach()).image[0].cpu()

    @torch.no_grad()
    def video(self, generator: Generator, latents: Latents) -> CanonicalVideo:
        """The clip as a generator makes it, measured against the frames."""
        content = paint(generator, latents.content)
        fields = torch.cat([move(generator, content, latents, part).cpu() for part in self.times.split(32)])
        video = CanonicalVideo(content.image[0].clamp(-1, 1).cpu(), fields, self.target.fps)
        shown = video.render()
        quality = psnr(shown, self.target.frames)
        video.report = {
            "psnr": float(quality.mean()),
            "psnr_min": float(quality.min()),
            "ssim": float(ssim(shown, self.target.frames).mean()),
            "folded": folded_share(fields),
        }
        return video


class _Schedule:
    """How far a stage is: by steps, or by time where there is a budget; every stage gets one step."""

    def __init__(self, stage: int, steps: int, budget: float | None, began: float) -> None:
        self._steps, self._budget = steps, budget
        if budget is not None:
            now = time.perf_counter()
            left = max(budget * 0.96 - (now - began), 0.0)
            self._from, self._span = now, left * SHARES[stage] / sum(SHARES[stage:])

    def share(self, step: int) -> float:
        """Share of the stage before a step; 1 when it is over."""
        if self._budget is None:
            return step / self._steps
        if step == 0:
            return 0.0
        return min((time.perf_counter() - self._from) / self._span, 1.0) if self._span > 0 else 1.0


def _ramp(share: float) -> float:
    """Factor on the learning rate: rises, stays, and falls like a cosine."""
    rise = min(share / WARM_UP, 1.0)
    fall = min((1 - share) / COOL_DOWN, 1.0)
    return max(rise, 0.05) * (0.5 - 0.5 * math.cos(math.pi * fall))
