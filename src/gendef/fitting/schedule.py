"""Sweeps until the plan or the budget ends, with previews and states to continue from."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.checkpoint import State, StateFile
from gendef.fitting.illumination import Light
from gendef.fitting.refinement import Clip, Refinement
from gendef.runtime.parallel import Workers

Quality = Literal["fast", "default", "best"]
SWEEPS: dict[str, int] = {"fast": 6, "default": 30, "best": 100}
"""Sweeps over all frames."""
FLOW_SHARE = 0.2
"""Share of all work that optical flow is taken for."""
ROUNDS = 6
"""Times that light and canonical image are found in turn before the first sweep, so that fields see one light."""
RESERVE = 0.06
"""Share of a budget kept for measuring and writing at the end."""
MANY = 10_000
"""Sweeps, at most, where a budget decides."""


@dataclass(frozen=True)
class Options:
    """What a fit of given frames depends on, besides them.

    Attributes:
        quality: how long to refine.
        seed: of the random choices in finding the camera motion.
        budget: seconds for all, instead of the quality's number of sweeps; the result then depends on the machine.
        illumination: whether the light of each frame is found too.
    """

    quality: Quality = "default"
    seed: int = 0
    budget: float | None = None
    illumination: bool = False

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
        psnr: mean over the frames in dB; not a number before there is any.
        canonical: the canonical image (3, h, w) as it is; None before there is one.
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

    def ends(self) -> float | None:
        """When, in seconds since the beginning, the last sweep shall be over."""
        return None if self._budget is None else self._budget * (1 - RESERVE)


def refined(
    clip: Clip,
    options: Options,
    clock: Clock,
    pool: Workers,
    watcher: Watcher,
    state: State | None,
    state_file: StateFile | None,
    keep: bool = False,
    light: Light | None = None,
) -> tuple[Refinement, int]:
    """The clip's fields and canonical image after all sweeps, and how many there were, at least one.

    Args:
        state: where to continue.
        state_file: where to save the state now and then.
        keep: save the state at the end too, for others of several fits may still be interrupted.
        light: of the frames, found along with field and canonical image; None: it does not change.
    """
    plan = SWEEPS[options.quality] if options.budget is None else MANY
    refinement, done, longest = Refinement(clip, pool), 0, 0.0
    if state:
        if light and state.illumination is not None:
            light.illumination = state.illumination
            refinement.see(light.removed(clip.frames))
        refinement.restore(state.deviation, state.canonical, state.trust)
        done = state.sweeps
    ends = clock.ends()
    if light and not state:
        for _ in range(ROUNDS):
            if ends is not None and clock.elapsed() >= ends:
                break
            watcher(Moment("finding the light", FLOW_SHARE, canonical=refinement.canonical))
            light.update(refinement, clip, pool)
            refinement.settle()
    while done < plan:
        now = clock.elapsed()
        if ends is not None and now + longest >= ends and done > 0:
            break
        refinement.sweep()
        if light:
            light.update(refinement, clip, pool)
        longest, done = max(longest, clock.elapsed() - now), done + 1
        share = done / plan if options.budget is None else min(clock.elapsed() / options.budget, 1.0)
        mean = float(refinement.psnr.mean())
        watcher(Moment("refining", FLOW_SHARE + (0.98 - FLOW_SHARE) * share, mean, refinement.canonical))
        if state_file:
            state_file.offer(lambda: State.of(refinement, done, clock.elapsed(), light))  # noqa: B023
    if state_file and keep:
        state_file.save(State.of(refinement, done, clock.elapsed(), light))
    return refinement, done
