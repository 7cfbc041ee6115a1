"""What an interrupted fit continues from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gendef.runtime.resume_file import EVERY, ResumeFile

if TYPE_CHECKING:
    from gendef.fitting.illumination import Light
    from gendef.fitting.refinement import Refinement

TENSORS = ("deviation", "canonical", "trust")


@dataclass
class State:
    """A fit between two sweeps.

    Attributes:
        sweeps: done so far.
        seconds: spent so far.
        deviation, canonical, trust: of the `gendef.fitting.refinement.Refinement`.
        illumination: of the light, where it is found too.
    """

    sweeps: int
    seconds: float
    deviation: Tensor
    canonical: Tensor
    trust: Tensor
    illumination: Tensor | None = None

    @classmethod
    def of(cls, refinement: "Refinement", sweeps: int, seconds: float, light: "Light | None" = None) -> "State":
        """The state of a refinement."""
        illumination = light.illumination if light else None
        return cls(sweeps, seconds, refinement.deviation, refinement.canonical, refinement.trust, illumination)

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What to save."""
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        if self.illumination is not None:
            tensors["illumination"] = self.illumination.contiguous()
        return tensors, {"sweeps": str(self.sweeps), "seconds": str(self.seconds)}

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], numbers: dict[str, str]) -> "State":
        """What was saved."""
        deviation, canonical, trust = (tensors[name] for name in TENSORS)
        return cls(
            int(numbers["sweeps"]), float(numbers["seconds"]), deviation, canonical, trust, tensors.get("illumination")
        )


class StateFile(ResumeFile[State]):
    """Where the state of a fit is kept; see `ResumeFile`."""

    def __init__(self, path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        super().__init__(State, path, job, every)
