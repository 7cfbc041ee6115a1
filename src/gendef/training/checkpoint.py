"""Checkpoints: everything the next step depends on, written so that a kill at any moment loses nothing."""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendef.errors import CheckpointError
from gendef.runtime.atomic_file import replacing

KEEP = 2
"""Newest checkpoints of a stage that are kept: the last one, and one to fall back to."""
OLD_KEYS = {"critic": "discriminator", "critic_optimiser": "discriminator_optimiser"}
"""Keys of a stage's state in checkpoints of version 0.1 -> their names today."""


def checkpoint_paths(folder: Path, stage: str) -> list[Path]:
    """Checkpoints of `stage` in `folder`, oldest first."""
    found = [
        (int(match[1]), path)
        for path in folder.glob(f"{stage}-*.pt")
        if (match := re.search(r"-(\d+)\.pt$", path.name))
    ]
    return [path for _, path in sorted(found)]


def is_finite(state: Any) -> bool:
    """Whether no floating-point tensor in `state` (nested dictionaries, lists and tuples) holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(state) if tensor.is_floating_point())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def save_checkpoint(folder: Path, stage: str, step: int, state: dict[str, Any]) -> Path:
    """Write `state` as the newest checkpoint of `stage` and remove all but the last two.

    The file is torch's zip format, which stores a CRC-32 checksum of every tensor; `load_checkpoint` verifies them.

    Raises:
        CheckpointError: the state holds NaN or infinity, or cannot be written; older checkpoints stay as they are.
    """
    path = folder / f"{stage}-{step:08d}.pt"
    if not is_finite(state):
        raise CheckpointError(f"the state of {stage} at step {step} holds values that are not finite: {path} not saved")
    try:
        with replacing(path, sync=True) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be written: {error}; the one before it is intact"
        ) from error
    for old in checkpoint_paths(folder, stage)[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in `path`, its checksums verified; nothing in the file is executed.

    Keys of version 0.1 are replaced by today's (`OLD_KEYS`).

    Raises:
        CheckpointError: the file is truncated, damaged, or no checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged: the checksum of its part {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:
        # On a damaged file zipfile and torch raise nearly anything.
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} cannot be read: it holds a {type(state).__name__} and no state")
    return {OLD_KEYS.get(str(key), str(key)): value for key, value in state.items()}


def latest_checkpoint(
    folder: Path, stage: str, on_skipped: Callable[[str], None] = lambda message: None
) -> dict[str, Any] | None:
    """The newest usable state of `stage`; None if it has no checkpoints.

    Args:
        folder: of the checkpoints.
        stage: "pretrain" or "finetune".
        on_skipped: called with a sentence for every newer checkpoint that is damaged or holds values that are not
            finite.

    Raises:
        CheckpointError: there are checkpoints, and none is usable.
    """
    problems: list[str] = []
    for path in reversed(checkpoint_paths(folder, stage)):
        try:
            state = load_checkpoint(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if is_finite(state):
            for problem in problems:
                on_skipped(f"{problem}; {path.name} is used instead")
            return state
        problems.append(f"{path} holds values that are not finite")
    if problems:
        raise CheckpointError("; ".join(problems) + f": delete them to start {stage} again")
    return None
