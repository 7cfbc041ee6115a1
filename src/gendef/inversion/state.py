"""What an interrupted inversion continues from: one safetensors file, replaced as a whole."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gendef.inversion.latents import Latents
from gendef.media.video import replacing
from gendef.networks.generator import Generator

FORMAT = 1
EVERY = 15.0
"""Seconds between two savings, at least."""
LATENTS = ("content", "motion", "noise")


@dataclass
class Progress:
    """An inversion between two steps.

    Attributes:
        stage: number of the stage.
        steps: done at each stage.
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
    ) -> "Progress":
        """What is reached now."""
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


class ProgressFile:
    """Where the progress of an inversion is kept.

    Args:
        path: the file.
        job: what is inverted and how; the progress of another job is not used.
        every: seconds between two savings, at least.
    """

    def __init__(self, path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        self.path, self._every = path, every
        self._job = json.dumps({"format": FORMAT, **job}, sort_keys=True)
        self._saved = time.perf_counter()

    def offer(self, progress: Callable[[], Progress]) -> None:
        """Save, if the last time is long enough ago."""
        if time.perf_counter() - self._saved >= self._every:
            self.save(progress())

    def save(self, progress: Progress) -> None:
        """Replace the file."""
        tensors = {name: value.detach().cpu().clone() for name, value in progress.tensors.items()}
        numbers = {"stage": str(progress.stage), "steps": json.dumps(progress.steps), "seconds": str(progress.seconds)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            save_file(tensors, temporary, {"job": self._job, **numbers})
        self._saved = time.perf_counter()

    def load(self) -> Progress | None:
        """The progress to continue from; None if there is none, or it belongs to another job."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                numbers = file.metadata() or {}
                if numbers.get("job") != self._job:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Progress(int(numbers["stage"]), json.loads(numbers["steps"]), float(numbers["seconds"]), tensors)
        except (SafetensorError, KeyError, ValueError, OSError):
            return None  # damaged: begin anew

    def remove(self) -> None:
        """Forget the progress."""
        self.path.unlink(missing_ok=True)
