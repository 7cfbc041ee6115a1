"""The state from which interrupted work continues: one safetensors file, replaced atomically."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gendef.runtime.atomic_file import replacing

FORMAT = 1
EVERY = 15.0
"""Least number of seconds between two savings."""
DAMAGED = ".damaged"
"""Part of the name of a kept damaged state file."""

log = logging.getLogger(__name__)


class Resumable(Protocol):
    """A state as tensors by name and numbers as text."""

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What to save."""

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], numbers: dict[str, str]) -> Any:
        """The state that was saved.

        Raises:
            KeyError, ValueError, TypeError: an entry is missing or damaged.
        """


Kept = TypeVar("Kept", bound=Resumable)


class ResumeFile(Generic[Kept]):
    """A state on disk.

    Args:
        kind: class of the state.
        path: the file.
        job: plain values that identify the work; the state of another job is not used.
        every: least number of seconds between two savings.

    Attributes:
        warnings: why `load` did not use a file that exists: it is damaged, or belongs to another job.
    """

    def __init__(self, kind: type[Kept], path: Path, job: dict[str, Any], every: float = EVERY) -> None:
        self.kind, self.path, self._every = kind, path, every
        self.warnings: list[str] = []
        self._job = json.dumps({"format": FORMAT, **job}, sort_keys=True)
        self._saved = time.perf_counter()

    def offer(self, state: Callable[[], Kept]) -> None:
        """Save, if at least `every` seconds have passed since the last time."""
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
        """The state to continue from; None if there is none, or if it belongs to another job.

        A file that cannot be used is logged and added to `warnings`. A damaged one is renamed, so that it is not
        overwritten.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                numbers = file.metadata() or {}
                if numbers.get("job") != self._job:
                    self._warn(
                        f"the saved state {self.path.name} belongs to other options or another version of gendef: "
                        "the work started from the beginning"
                    )
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            kept: Kept = self.kind.unpacked(tensors, numbers)
            return kept
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            self._set_aside(error)
            return None

    def _set_aside(self, error: Exception) -> None:
        """Rename a damaged file, so that saving does not overwrite it, and warn."""
        number, aside = 1, self.path.with_name(f"{self.path.stem}{DAMAGED}{self.path.suffix}")
        while aside.exists():
            number += 1
            aside = self.path.with_name(f"{self.path.stem}{DAMAGED}{number}{self.path.suffix}")
        os.replace(self.path, aside)
        text = (
            f"the saved state {self.path.name} is damaged ({error}): the work started from the beginning, "
            f"and the damaged file was kept as {aside.name}"
        )
        self._warn(text)

    def _warn(self, text: str) -> None:
        log.warning("%s (in %s)", text, self.path.parent)
        self.warnings.append(text)

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.path.unlink(missing_ok=True)


@contextmanager
def keeping_damaged(folder: Path) -> Iterator[None]:
    """A block that replaces `folder` as a whole; the damaged state files in it outlive that."""
    moved = []
    for path in sorted(folder.glob(f".*{DAMAGED}*")):
        aside = folder.with_name(f".{folder.name}.{os.getpid()}{path.name}")
        os.replace(path, aside)
        moved.append((aside, path))
    try:
        yield
    finally:
        for aside, path in moved:
            os.replace(aside, path)
