"""Checkpoints: everything the next step depends on, written so that a kill at any moment loses nothing."""

import os
import re
from pathlib import Path
from typing import Any

import torch

from gendef.errors import CheckpointError

KEEP = 2
OLD_KEYS = {"critic": "discriminator", "critic_optimiser": "discriminator_optimiser"}
"""Keys of a stage's state in checkpoints of version 0.1 -> their names today."""


def with_current_keys(state: dict[str, Any]) -> dict[str, Any]:
    """`state` with the key names of version 0.1 replaced by today's."""
    return {OLD_KEYS.get(key, key): value for key, value in state.items()}


def checkpoint_paths(folder: Path, stage: str) -> list[Path]:
    """Checkpoints of `stage` in `folder`, oldest first."""
    found = [
        (int(match[1]), path)
        for path in folder.glob(f"{stage}-*.pt")
        if (match := re.search(r"-(\d+)\.pt$", path.name))
    ]
    return [path for _, path in sorted(found)]


def save_checkpoint(folder: Path, stage: str, step: int, state: dict[str, Any]) -> Path:
    """Write `state` as the newest checkpoint of `stage` and remove all but the last two.

    Raises:
        CheckpointError: it cannot be written; older checkpoints stay as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stage}-{step:08d}.pt"
    temporary = folder / f".{path.name}.tmp"
    try:
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be written: {error}; the one before it is intact"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    for old in checkpoint_paths(folder, stage)[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in `path`; nothing in the file is executed.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        return with_current_keys(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read: {error}; delete it to continue from the one before") from error


def latest_checkpoint(folder: Path, stage: str) -> dict[str, Any] | None:
    """The newest readable state of `stage`, or None; a damaged newest one is passed over."""
    paths = checkpoint_paths(folder, stage)
    for path in reversed(paths):
        try:
            return load_checkpoint(path)
        except CheckpointError:
            if path == paths[0]:
                raise
    return None
