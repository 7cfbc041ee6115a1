"""Sweeps from coarse to fine until the plan or the budget ends, with previews and states to continue from."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.light import Light
from gendef.fitting.optimise import Clip, Level, Weights, resized
from gendef.fitting.state import State, StateFile
from gendef.fitting.workers import Workers

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


@dataclass(frozen=True)
class Options:
    """What a fit of given frames depends on, besides them.

    Attributes:
        quality: how long to refine.
        seed: of the random choices in finding the camera motion.
        budget: seconds for all, instead of the quality's number of sweeps; the result then depends on the machine.
        residual: whether the light of each frame is found too.
    """

    quality: Quality = "default"
    seed: int = 0
    budget: float | None = None
    residual: bool = False

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


class Clock:
    """Time since the fit began, also over interruptions, and what is left of the budget."""

    def __init__(self, began: float, budget: float | None) -> None:
        self.began, self._budget = began, budget

    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    def deadline(self, share: float) -> float | None:
        """When, in seconds since the beginning, a level that starts now shall end; every level gets one sweep."""
        if self._budget is None:
            return None
        left = self._budget * (1 - RESERVE) - self.elapsed()
        return self.elapsed() + max(left, 0.0) * share


def refined(
    clip: Clip,
    deviation: Tensor,
    options: Options,
    clock: Clock,
    pool: Workers,
    watcher: Watcher,
    state: State | None,
    state_file: StateFile | None,
    keep: bool = False,
    light: Light | None = None,
) -> tuple[Level, int]:
    """The finest level after all sweeps, and how many there were.

    Args:
        deviation: (T, 2, h, w), where to begin, in normalised units of the canvas.
        state: where to continue.
        state_file: where to save the state now and then.
        keep: save the state at the end too, for others of several fits may still be interrupted.
        light: of the frames, found along with field and canonical image; None: it does not change.
    """
    plan = SWEEPS[options.quality] if options.budget is None else (MANY,) * len(LEVELS)
    first, done = 0, state.total if state else 0
    if state:
        first, deviation = state.level, state.deviation
        if light and state.residual is not None:
            light.residual = state.residual
    level = None
    for number, (reduction, stride, iterations, part) in enumerate(LEVELS):
        if number < first:
            continue
        seen = replace(clip, frames=light.removed(clip.frames)) if light else clip
        level = Level(seen, reduction, deviation, Weights(stride=stride, iterations=iterations), pool)
        frames, before = resized(clip.frames, level.size), 0
        if light:
            level.see(light.removed(frames))
        if state and number == first:
            level.restore(state.deviation, state.canonical, state.trust)
            before = state.sweeps
        deadline, longest = clock.deadline(part), 0.0
        for sweep in range(before, plan[number]):
            now = clock.elapsed()
            if deadline is not None and now + longest >= deadline and sweep > 0:
                break
            level.sweep()
            if light:
                light.update(level, frames, clip, pool)
            longest = max(longest, clock.elapsed() - now)
            done += 1
            share = _share(options, plan, number, sweep, clock)
            watcher(Moment(NAMES[number], share, float(level.psnr.mean()), level.canonical))
            if state_file:
                state_file.offer(lambda: State.of(level, number, sweep + 1, done, clock.elapsed(), light))  # noqa: B023
        deviation = level.deviation
    assert level is not None
    if state_file and keep:
        state_file.save(State.of(level, len(LEVELS) - 1, plan[-1], done, clock.elapsed(), light))
    return level, done


def _share(options: Options, plan: tuple[int, ...], number: int, sweep: int, clock: Clock) -> float:
    """Share of the work that is done."""
    if options.budget is not None:
        return min(0.1 + 0.85 * clock.elapsed() / options.budget, 0.98)
    each = [(1 + 3 / stride**2) / reduction**2 for reduction, stride, _, _ in LEVELS]
    spent = sum(a * b for a, b in zip(each[:number], plan, strict=False)) + each[number] * (sweep + 1)
    return 0.1 + 0.85 * spent / sum(a * b for a, b in zip(each, plan, strict=True))
