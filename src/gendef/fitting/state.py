"""What an interrupted fit continues from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gendef.fitting.resume import EVERY, ResumeFile

if TYPE_CHECKING:
    from gendef.fitting.optimise import Level

TENSORS = ("deviation", "canonical", "trust")
COUNTS = ("level", "sweeps", "total")


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

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What to save."""
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        return tensors, {name: str(getattr(self, name)) for name in (*COUNTS, "seconds")}

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], numbers: dict[str, str]) -> "State":
        """What was saved."""
        level, sweeps, total = (int(numbers[name]) for name in COUNTS)
        deviation, canonical, trust = (tensors[name] for name in TENSORS)
        return cls(level, sweeps, total, float(numbers["seconds"]), deviation, canonical, trust)


class StateFile(ResumeFile[State]):
    """Where the state of a fit is kept; see `ResumeFile`."""

    def __init__(self, path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        super().__init__(State, path, job, every)
