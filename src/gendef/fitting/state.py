"""What an interrupted fit continues from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gendef.fitting.resume import EVERY, ResumeFile

if TYPE_CHECKING:
    from gendef.fitting.light import Light
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
        residual: of the light, where it is found too.
    """

    level: int
    sweeps: int
    total: int
    seconds: float
    deviation: Tensor
    canonical: Tensor
    trust: Tensor
    residual: Tensor | None = None

    @classmethod
    def of(
        cls, level: "Level", number: int, sweeps: int, total: int, seconds: float, light: "Light | None" = None
    ) -> "State":
        """The state of a level."""
        residual = light.residual if light else None
        return cls(number, sweeps, total, seconds, level.deviation, level.canonical, level.trust, residual)

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What to save."""
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        if self.residual is not None:
            tensors["residual"] = self.residual.contiguous()
        return tensors, {name: str(getattr(self, name)) for name in (*COUNTS, "seconds")}

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], numbers: dict[str, str]) -> "State":
        """What was saved."""
        level, sweeps, total = (int(numbers[name]) for name in COUNTS)
        deviation, canonical, trust = (tensors[name] for name in TENSORS)
        residual = tensors.get("residual")
        return cls(level, sweeps, total, float(numbers["seconds"]), deviation, canonical, trust, residual)


class StateFile(ResumeFile[State]):
    """Where the state of a fit is kept; see `ResumeFile`."""

    def __init__(self, path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        super().__init__(State, path, job, every)
