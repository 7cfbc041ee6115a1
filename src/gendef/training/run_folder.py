"""The folder of a training run: its lock, its config.yaml, and the checks before anything is written."""

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from gendef.errors import CheckpointError, ConfigError
from gendef.runtime.atomic_file import replacing
from gendef.runtime.file_lock import LockedError, locked
from gendef.training.checkpoint import checkpoint_paths
from gendef.training.config import first_difference

STAGES = ("pretrain", "finetune")
LOCK = ".lock"
FIELDS = {name: name for name in STAGES}
"""Fields of `TrainConfig` that hold the settings of the stages."""
MAY_CHANGE = ("images",)
"""Fields of a stage that may differ when a run is continued."""
ROOM = 3
"""Checkpoints that must fit on the disk: the two that are kept, and the one being written."""


class RunConfig(Protocol):
    """Methods of a configuration that a folder needs; `TrainConfig` and `LatentTrainConfig` have them."""

    def to_dict(self) -> dict[str, Any]: ...

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig": ...


class RunFolder:
    """The folder of a run.

    Args:
        path: the folder.
        config: settings of the run.
        fingerprint: of the data.
        stages: names of the stages, and the field of `config` that holds the settings of each.
        may_change: fields of a stage that may differ when the run is continued.
    """

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        fingerprint: str,
        stages: Mapping[str, str] = FIELDS,
        may_change: Sequence[str] = MAY_CHANGE,
    ) -> None:
        self.path, self.stages, self.may_change = path, stages, may_change
        self._config = type(config)
        self._values: dict[str, Any] = {"training": config.to_dict(), "data": fingerprint}

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @contextmanager
    def locked(self, warn: Callable[[str], None]) -> Iterator[None]:
        """Hold the folder during the block: a second training on it is refused.

        Args:
            warn: called with a sentence if the lock of a process that has ended is taken over.

        Raises:
            ConfigError: another process trains into this folder.
        """
        lock = self.path / LOCK
        try:
            with locked(lock) as stale:
                if stale is not None:
                    warn(f"{self.path} was locked by {stale}, which has ended without a word; the run continues")
                yield
        except LockedError as error:
            cure = f"; if that process has ended, delete {lock}" if error.elsewhere else ""
            raise ConfigError(
                f"{self.path} is in use by {error.owner or 'another process'}: wait for it to end, or choose another"
                f" --out{cure}"
            ) from error

    def check_config(self) -> None:
        """Compare the configuration with the one that the run was started with; nothing is written.

        Raises:
            ConfigError: config.yaml is damaged, or differs in a field that would change the run.
        """
        path = self.path / "config.yaml"
        if not path.exists():
            return
        saved = self._read(path)
        started = [name for name in self.stages if checkpoint_paths(self.checkpoints, name)]
        difference = first_difference(self._comparable(self._values, started), self._comparable(saved, started))
        if difference:
            raise ConfigError(
                f"{self.path} holds a run with another {difference}:"
                " continue it with the same settings, or choose another --out"
            )

    def write_config(self) -> None:
        """Write config.yaml."""
        with writing(self.path / "config.yaml"), replacing(self.path / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(plain(self._values), sort_keys=False))

    def check_room(self, checkpoint_bytes: int) -> int:
        """Bytes that the checkpoints of a stage need; the space of old checkpoints counts as free.

        Raises:
            ConfigError: the disk cannot hold them.
        """
        needed = ROOM * checkpoint_bytes
        place = next(parent for parent in (self.path.absolute(), *self.path.absolute().parents) if parent.exists())
        taken = sum(path.stat().st_size for name in self.stages for path in checkpoint_paths(self.checkpoints, name))
        free = shutil.disk_usage(place).free + taken
        if free < needed:
            raise ConfigError(f"{self.path} has {free / 1e6:.0f} MB left, but checkpoints need {needed / 1e6:.0f} MB")
        return needed

    def _read(self, path: Path) -> dict[str, Any]:
        """The saved configuration, with defaults for fields that are younger than the run."""
        try:
            values = yaml.safe_load(path.read_text())
            return {"training": self._config.from_dict(values["training"]).to_dict(), "data": values["data"]}
        except ConfigError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"{path} is empty or damaged ({type(error).__name__}: {error}): delete it to continue the run with the"
                " settings that you give, or choose another --out"
            ) from error

    def _comparable(self, values: dict[str, Any], started: list[str]) -> dict[str, Any]:
        """`values` without stages that have not started and without fields that may change (`may_change`)."""
        comparable = copy.deepcopy(values)
        for stage, field in self.stages.items():
            if stage not in started:
                comparable["training"].pop(field)
                continue
            for name in self.may_change:
                comparable["training"][field].pop(name, None)
        return comparable


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into a CheckpointError that names the file."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{error.filename or path} cannot be written: {error.strerror or error}") from error


def plain(value: Any) -> Any:
    """Nested values with tuples as lists, as YAML and JSON give them back."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
