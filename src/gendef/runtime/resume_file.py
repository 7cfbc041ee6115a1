"""What interrupted work continues from: one safetensors file, replaced as a whole."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gendef.runtime.atomic_file import replacing

FORMAT = 1
EVERY = 15.0
"""Seconds between two savings, at least."""


class Resumable(Protocol):
    """A state as tensors by name and numbers as text."""

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What to save."""

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], numbers: dict[str, str]) -> Any:
        """The state that was saved.

        Raises:
            KeyError, ValueError, TypeError: something is missing or damaged.
        """


Kept = TypeVar("Kept", bound=Resumable)


class ResumeFile(Generic[Kept]):
    """Where a state is kept.

    Args:
        kind: class of the state.
        path: the file.
        job: what is worked on and how, plain values; a state of another job is not used.
        every: seconds between two savings, at least.
    """

    def __init__(self, kind: type[Kept], path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        self.kind, self.path, self._every = kind, path, every
        self._job = json.dumps({"format": FORMAT, **job}, sort_keys=True)
        self._saved = time.perf_counter()

    def offer(self, state: Callable[[], Kept]) -> None:
        """Save, if the last time is long enough ago."""
        if time.perf_counter() - self._saved >= self._every:
            self.save(state())

    def save(self, state: Kept) -> None:
        """Replace the file."""
        tensors, numbers = state.packed()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            save_file(tensors, temporary, {"job": self._job, **numbers})
        self._saved = time.perf_counter()

    def load(self) -> Kept | None:
        """The state to continue from; None if there is none, or it belongs to another job."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                numbers = file.metadata() or {}
                if numbers.get("job") != self._job:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            kept: Kept = self.kind.unpacked(tensors, numbers)
            return kept
        except (SafetensorError, KeyError, ValueError, TypeError, OSError):
            return None  # damaged: begin anew

    def remove(self) -> None:
        """Forget the state."""
        self.path.unlink(missing_ok=True)
