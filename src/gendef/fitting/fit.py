"""Fitting real videos: a clip becomes a canonical image and a deformation field (in the line of CoDeF, 2308.07926)."""

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gendef.canonical_video import CanonicalVideo
from gendef.errors import InputError
from gendef.fitting.camera import find_camera, still_camera
from gendef.fitting.measure import agreeing, measured
from gendef.fitting.optical_flow import flow_trust, neighbour_flows
from gendef.fitting.optimise import Clip, Level, Weights
from gendef.fitting.source import Footage, Scene, read_footage
from gendef.fitting.start import chained_deviations
from gendef.fitting.state import State, StateFile
from gendef.fitting.workers import Workers, workers
from gendef.media.optical_flow import FlowMethod, dis_flow

Quality = Literal["fast", "default", "best"]
LEVELS = ((4, 2, 20, 0.1), (2, 2, 20, 0.2), (1, 2, 8, 0.2), (1, 1, 8, 1.0))
"""Levels of a fit: reduction of the frames, pixels between nodes of the field's grid, conjugate gradients a step, and
the share of the seconds left that the level may take where there is a budget."""
SWEEPS: dict[str, tuple[int, ...]] = {"fast": (8, 6, 3, 6), "default": (12, 10, 4, 30), "best": (16, 16, 6, 100)}
"""Sweeps over all frames at each level."""
NAMES = ("quarter resolution", "half resolution", "full resolution, coarse field", "full resolution")
RESERVE = 0.06
"""Share of a budget kept for measuring and writing at the end."""
MANY = 10_000
"""Sweeps at a level, at most, where a budget decides."""
SAME = 2
"""Levels of 255 by which frames may differ, at most, to count as one still picture."""


@dataclass(frozen=True)
class Options:
    """What a fit of given frames depends on, besides them.

    Attributes:
        quality: how long to refine.
        seed: of the random choices in finding the camera motion.
        budget: seconds for all, instead of the quality's number of sweeps; the result then depends on the machine.
    """

    quality: Quality = "default"
    seed: int = 0
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.quality not in get_args(Quality):
            raise InputError(f"quality must be one of {', '.join(get_args(Quality))}, got {self.quality!r}")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed must be between 0 and {2**31 - 1}, got {self.seed}")
        if self.budget is not None and not self.budget > 0:
            raise InputError(f"budget must be a positive number of seconds, got {self.budget}")


@dataclass(frozen=True)
class Moment:
    """How far a fit is: for progress bars and previews.

    Attributes:
        stage: what is going on, in a few words.
        done: share of all work, in [0, 1].
        psnr: mean over the frames in dB at the present resolution; not a number before there is any.
        canonical: the canonical image (3, h, w) as it is, at the present resolution; None before there is one.
    """

    stage: str
    done: float
    psnr: float = float("nan")
    canonical: Tensor | None = None


Watcher = Callable[[Moment], None]


def fit_video(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
) -> CanonicalVideo:
    """Fit a canonical image and a deformation field to a real video.

    Args:
        source: a video file, an animated gif, a folder of frames, or a zip of one clip.
        size: pixels of the shorter side of the frames that are fitted; smaller videos keep theirs.
        start: first frame.
        frames: how many; default all.
        quality: fast, default or best.
        seed: the same seed gives the same result (without a budget).
        budget: seconds; refines as long as they last, whatever the quality.
        flow: optical flow between two frames, instead of OpenCV's DIS; see `gendef.media.optical_flow.FlowMethod`.
        watcher: called after every step of work.

    Returns:
        The clip; `report` holds psnr (mean, dB), psnr_min, ssim, seconds, seen (share of canonical pixels that any
        frame shows), folded and more; `visibility` (T, H, W) bool says where the canonical image explains the frames.
        If the video has cuts, its longest scene; see `fit_scenes`.

    Raises:
        DataError: the source cannot be read.
        InputError: an impossible option.
        MissingDependencyError: OpenCV is not installed.
    """
    options = Options(quality, seed, budget)
    footage = read_footage(source, size, start, frames)
    longest = max(footage.scenes, key=lambda scene: len(scene.frames))
    if len(footage.scenes) > 1:
        warnings.warn(
            f"{source} has {len(footage.scenes)} scenes; the longest, frames {longest.numbers[0]} to "
            f"{longest.numbers[-1]}, is fitted (gendef.fitting.fit_scenes fits them all)",
            stacklevel=2,
        )
    return fit_scene(longest, footage, options, str(source), flow, watcher)


def fit_scenes(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
) -> list[CanonicalVideo]:
    """As `fit_video`, with one clip for every scene of the video; a budget is for all of them."""
    options = Options(quality, seed, budget)
    footage = read_footage(source, size, start, frames)
    shares = scene_options(footage, options)
    return [
        fit_scene(scene, footage, share, str(source), flow, watcher)
        for scene, share in zip(footage.scenes, shares, strict=True)
    ]


def scene_options(footage: Footage, options: Options) -> list[Options]:
    """The options for each scene: a budget is split by their lengths."""
    if options.budget is None:
        return [options] * len(footage.scenes)
    lengths = [len(scene.frames) for scene in footage.scenes]
    return [Options(options.quality, options.seed, options.budget * n / sum(lengths)) for n in lengths]


def fit_scene(
    scene: Scene,
    footage: Footage,
    options: Options,
    name: str,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    state_file: StateFile | None = None,
) -> CanonicalVideo:
    """Fit one scene; see `fit_video`.

    Args:
        name: of the source, for the clip's info.
        state_file: where to continue from, and where to save what is reached now and then.
    """
    began = time.perf_counter()
    used = [t for t in range(len(scene.frames)) if t not in scene.blank]
    frames = to_tensor([scene.frames[t] for t in used])
    state = state_file.load() if state_file else None
    clock = _Clock(began - (state.seconds if state else 0.0), options.budget)
    if _is_still(frames):
        size = (frames.shape[2], frames.shape[3])
        camera = still_camera(len(frames), *size, len(frames) // 2)
        canonical, field, seen, sweeps = frames.mean(dim=0), torch.zeros(len(frames), *size, 2), 1.0, 0
        agrees = None
    else:
        with workers() as pool:
            clip, deviation = _prepared(scene, used, frames, options, flow, watcher)
            level, sweeps = _refined(clip, deviation, options, clock, pool, watcher, state, state_file)
        camera, field, canonical = clip.camera, level.field(), level.canonical.clamp(-1, 1)
        seen = float((level.mass > 0.25).float().mean())
        agrees = agreeing(field, level.canvas, clip)
    watcher(Moment("measuring", 0.99))
    result = CanonicalVideo(canonical, _with_blank(field, used, len(scene.frames)), footage.fps)
    truth = to_tensor(scene.frames)
    reference = used[camera.reference]
    report, result.visibility = measured(result, truth, used, reference, agrees)
    result.report = {
        **report,
        "seen": seen,
        "seconds": clock.elapsed(),
        "sweeps": sweeps,
        "reference_frame": scene.numbers[reference],
        "camera": camera.kind,
        "blank_frames": [scene.numbers[t] for t in scene.blank],
        "notes": footage.notes,
    }
    result.info = {
        "kind": "fit",
        "source": Path(name).name,
        "frames": [scene.numbers[0], scene.numbers[-1]],
        **asdict(options),
    }
    watcher(Moment("done", 1.0, report["psnr"], result.canonical))
    return result


def to_tensor(frames: list[np.ndarray]) -> Tensor:
    """uint8 frames (H, W, 3) -> (T, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(frames)).movedim(-1, 1).float() / 127.5 - 1


class _Clock:
    """Time since the fit began, also over interruptions, and what is left of the budget."""

    def __init__(self, began: float, budget: float | None) -> None:
        self._began, self._budget = began, budget

    def elapsed(self) -> float:
        return time.perf_counter() - self._began

    def deadline(self, share: float) -> float | None:
        """When, in seconds since the beginning, a level that starts now shall end; every level gets one sweep."""
        if self._budget is None:
            return None
        left = self._budget * (1 - RESERVE) - self.elapsed()
        return self.elapsed() + max(left, 0.0) * share


def _is_still(frames: Tensor) -> bool:
    """Whether all frames show the same picture, but for noise."""
    return float((frames - frames[:1]).abs().amax()) * 127.5 <= SAME


def _prepared(
    scene: Scene,
    used: list[int],
    frames: Tensor,
    options: Options,
    method: FlowMethod | None,
    watcher: Watcher,
) -> tuple[Clip, Tensor]:
    """The clip with its flows and camera, and the first deviations (T, 2, H, W), normalised."""
    pairs = 0

    def on_pair() -> None:
        nonlocal pairs
        pairs += 1
        watcher(Moment("optical flow", 0.08 * pairs / (len(used) - 1)))

    forward, backward = neighbour_flows([scene.frames[t] for t in used], method or dis_flow(), on_pair)
    camera = find_camera(forward, backward, options.seed)
    watcher(Moment("first field", 0.08))
    trusts = [
        torch.stack([flow_trust(there, back) for there, back in zip(one, two, strict=True)])
        for one, two in ((forward, backward), (backward, forward))
    ]
    clip = Clip(frames, camera, forward, backward, *trusts)
    return clip, chained_deviations(clip)


def _refined(
    clip: Clip,
    deviation: Tensor,
    options: Options,
    clock: _Clock,
    pool: Workers,
    watcher: Watcher,
    state: State | None,
    state_file: StateFile | None,
) -> tuple[Level, int]:
    """The finest level after all sweeps, and how many there were."""
    plan = SWEEPS[options.quality] if options.budget is None else (MANY,) * len(LEVELS)
    first, done = 0, state.total if state else 0
    if state:
        first, deviation = state.level, state.deviation
    level = None
    for number, (reduction, stride, iterations, part) in enumerate(LEVELS):
        if number < first:
            continue
        level = Level(clip, reduction, deviation, Weights(stride=stride, iterations=iterations), pool)
        before = 0
        if state and number == first:
            level.restore(state.deviation, state.canonical, state.trust)
            before = state.sweeps
        deadline, longest = clock.deadline(part), 0.0
        for sweep in range(before, plan[number]):
            now = clock.elapsed()
            if deadline is not None and now + longest >= deadline and sweep > 0:
                break
            level.sweep()
            longest = max(longest, clock.elapsed() - now)
            done += 1
            share = _share(options, plan, number, sweep, clock)
            watcher(Moment(NAMES[number], share, float(level.psnr.mean()), level.canonical))
            if state_file:
                state_file.offer(lambda: State.of(level, number, sweep + 1, done, clock.elapsed()))  # noqa: B023
        deviation = level.deviation
    assert level is not None
    return level, done


def _share(options: Options, plan: tuple[int, ...], number: int, sweep: int, clock: _Clock) -> float:
    """Share of the work that is done."""
    if options.budget is not None:
        return min(0.1 + 0.85 * clock.elapsed() / options.budget, 0.98)
    each = [(1 + 3 / stride**2) / reduction**2 for reduction, stride, _, _ in LEVELS]
    spent = sum(a * b for a, b in zip(each[:number], plan, strict=False)) + each[number] * (sweep + 1)
    return 0.1 + 0.85 * spent / sum(a * b for a, b in zip(each, plan, strict=True))


def _with_blank(field: Tensor, used: list[int], count: int) -> Tensor:
    """The field with those of the nearest used frames in place of black ones."""
    if len(used) == count:
        return field
    places = torch.tensor(used)
    nearest = (torch.arange(count)[:, None] - places[None]).abs().argmin(dim=1)
    return field[nearest]
