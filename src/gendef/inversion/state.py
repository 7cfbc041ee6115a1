"""The state from which an interrupted inversion continues."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendef.inversion.latents import Latents
from gendef.networks.generator import Generator
from gendef.runtime.resume_file import EVERY, ResumeFile

LATENTS = ("content", "motion", "noise")


@dataclass
class InversionState:
    """An inversion between two steps.

    Attributes:
        stage: number of the stage.
        steps: number of steps of each stage.
        seconds: spent so far.
        tensors: latents, weights of the tuned generator and memory of the optimiser, by name.
    """

    stage: int
    steps: list[int]
    seconds: float
    tensors: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        stage: int,
        steps: list[int],
        seconds: float,
        latents: Latents,
        generator: Generator,
        optimiser: torch.optim.Optimizer,
    ) -> "InversionState":
        """The present state."""
        tensors = {f"latents.{name}": getattr(latents, name) for name in LATENTS}
        tensors |= {f"generator.{name}": value for name, value in generator.state_dict().items()}
        for index, memory in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in memory.items()}
        return cls(stage, list(steps), seconds, tensors)

    def latents_on(self, device: torch.device) -> Latents:
        """The latents."""
        return Latents(*(self.tensors[f"latents.{name}"].to(device) for name in LATENTS))

    def restore(self, generator: Generator, optimiser: torch.optim.Optimizer) -> None:
        """Put weights and the optimiser's memory back."""
        weights: dict[str, Tensor] = {}
        memory: dict[int, dict[str, Tensor]] = {}
        for name, value in self.tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "generator":
                weights[rest] = value
            elif kind == "optimiser":
                index, _, entry = rest.partition(".")
                memory.setdefault(int(index), {})[entry] = value
        generator.load_state_dict(weights)
        optimiser.load_state_dict({"state": memory, "param_groups": optimiser.state_dict()["param_groups"]})

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and numbers to save."""
        tensors = {name: value.detach().cpu().clone() for name, value in self.tensors.items()}
        return tensors, {"stage": str(self.stage), "steps": json.dumps(self.steps), "seconds": str(self.seconds)}

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], numbers: dict[str, str]) -> "InversionState":
        """The state from saved tensors and numbers."""
        return cls(int(numbers["stage"]), json.loads(numbers["steps"]), float(numbers["seconds"]), tensors)


class InversionStateFile(ResumeFile[InversionState]):
    """The saved state of an inversion; see `ResumeFile`."""

    def __init__(self, path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        super().__init__(InversionState, path, job, every)
