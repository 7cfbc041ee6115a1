"""The order of a fit's sweeps: until the plan or the budget ends, with progress reports and saved states."""

import time

from gendef.fitting.checkpoint import State, StateFile
from gendef.fitting.illumination import Illumination
from gendef.fitting.options import FitOptions
from gendef.fitting.progress import Progress, ProgressCallback
from gendef.fitting.refinement import Clip, Refinement
from gendef.runtime.parallel import Workers

SWEEPS: dict[str, int] = {"fast": 6, "default": 30, "best": 100}
"""Sweeps over all frames, by quality (docs/fit.md, "Measured")."""
FLOW_SHARE = 0.2
"""Share of the progress bar for optical flow."""
ILLUMINATION_ROUNDS = 6
"""Alternating estimates of illumination and canonical image before the first sweep, so that the first field step
compares frames in one illumination."""
RESERVE = 0.06
"""Share of a budget kept for measuring and writing at the end."""
MAX_SWEEPS = 10_000
"""Limit on the sweeps when a budget decides."""


class Clock:
    """Time since the fit began, interruptions not counted, and what is left of the budget.

    Args:
        began: value of `time.perf_counter` at the beginning, less the time spent before an interruption.
        budget: seconds; None: no limit.
    """

    def __init__(self, began: float, budget: float | None) -> None:
        self.began, self._budget = began, budget

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    def ends(self) -> float | None:
        """Seconds since the beginning at which the last sweep must be over; None without a budget."""
        return None if self._budget is None else self._budget * (1 - RESERVE)


def refine(
    clip: Clip,
    options: FitOptions,
    clock: Clock,
    pool: Workers,
    on_progress: ProgressCallback,
    state: State | None,
    state_file: StateFile | None,
    keep: bool = False,
    illumination: Illumination | None = None,
) -> tuple[Refinement, int]:
    """The clip's fields and canonical image after all sweeps, and the number of sweeps, at least one.

    Args:
        state: from which to continue.
        state_file: where to save the state regularly.
        keep: save the state at the end too: others of several fits may still be interrupted.
        illumination: of the frames, estimated along with fields and canonical image; None: it is taken as constant.
    """
    plan = SWEEPS[options.quality] if options.budget is None else MAX_SWEEPS
    refinement, done, longest = Refinement(clip, pool), 0, 0.0
    if state:
        if illumination and state.illumination is not None:
            illumination.gains = state.illumination
            refinement.use_frames(illumination.removed(clip.frames))
        refinement.restore(state.deviation, state.canonical, state.trust)
        done = state.sweeps
    ends = clock.ends()
    if illumination and not state:
        for _ in range(ILLUMINATION_ROUNDS):
            if ends is not None and clock.elapsed() >= ends:
                break
            on_progress(Progress("estimating the illumination", FLOW_SHARE, canonical=refinement.canonical))
            illumination.update(refinement, clip, pool)
            refinement.solve_canonical()
    while done < plan:
        now = clock.elapsed()
        if ends is not None and now + longest >= ends and done > 0:
            break
        refinement.sweep()
        if illumination:
            illumination.update(refinement, clip, pool)
        longest, done = max(longest, clock.elapsed() - now), done + 1
        share = done / plan if options.budget is None else min(clock.elapsed() / options.budget, 1.0)
        mean = float(refinement.psnr.mean())
        on_progress(Progress("refining", FLOW_SHARE + (0.98 - FLOW_SHARE) * share, mean, refinement.canonical))
        if state_file:
            state_file.offer(lambda: State.of(refinement, done, clock.elapsed(), illumination))  # noqa: B023
    if state_file and keep:
        state_file.save(State.of(refinement, done, clock.elapsed(), illumination))
    return refinement, done
