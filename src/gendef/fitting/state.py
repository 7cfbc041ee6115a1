"""What an interrupted fit continues from: one safetensors file, replaced as a whole."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gendef.media.video import replacing

if TYPE_CHECKING:
    from gendef.fitting.optimise import Level

FORMAT = 1
EVERY = 15.0
"""Seconds between two savings, at least."""


@dataclass
class State:
    """A fit between two sweeps.

    Attributes:
        level: number of the level.
        sweeps: done at this level; `total` at all levels.
        seconds: spent so far.
        deviation, canonical, trust: of the level.
    """

    level: int
    sweeps: int
    total: int
    seconds: float
    deviation: Tensor
    canonical: Tensor
    trust: Tensor

    @classmethod
    def of(cls, level: "Level", number: int, sweeps: int, total: int, seconds: float) -> "State":
        """The state of a level."""
        return cls(number, sweeps, total, seconds, level.deviation, level.canonical, level.trust)


class StateFile:
    """Where the state of a fit is kept.

    Args:
        path: the file.
        job: what is fitted and how; a state of another job is not used.
        every: seconds between two savings, at least.
    """

    def __init__(self, path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        self.path, self._every = path, every
        self._job = json.dumps({"format": FORMAT, **job}, sort_keys=True)
        self._saved = time.perf_counter()

    def offer(self, state: Callable[[], State]) -> None:
        """Save, if the last time is long enough ago."""
        if time.perf_counter() - self._saved >= self._every:
            self.save(state())

    def save(self, state: State) -> None:
        """Replace the file."""
        tensors = {name: getattr(state, name).contiguous() for name in ("deviation", "canonical", "trust")}
        numbers = {name: str(getattr(state, name)) for name in ("level", "sweeps", "total", "seconds")}
        with replacing(self.path) as temporary:
            save_file(tensors, temporary, {"job": self._job, **numbers})
        self._saved = time.perf_counter()

    def load(self) -> State | None:
        """The state to continue from; None if there is none, or it belongs to another job."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                numbers = file.metadata() or {}
                if numbers.get("job") != self._job:
                    return None
                tensors = {name: file.get_tensor(name) for name in ("deviation", "canonical", "trust")}
            level, sweeps, total = (int(numbers[name]) for name in ("level", "sweeps", "total"))
            return State(level, sweeps, total, float(numbers["seconds"]), **tensors)
        except (SafetensorError, KeyError, ValueError, OSError):
            return None  # damaged: begin anew

    def remove(self) -> None:
        """Forget the state."""
        self.path.unlink(missing_ok=True)
