"""Where and how long to run a training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gendef.training.config import TrainConfig
from gendef.training.distributed import Group
from gendef.training.run_folder import STAGES


@dataclass(frozen=True)
class RunOptions:
    """Where and how long to run. Unlike the configuration, these may differ when a run is continued."""

    out: Path
    stages: tuple[str, ...] = STAGES
    minutes: float | None = None
    snapshot_minutes: float = 10.0
    device: str = "auto"
    quiet: bool = False
    micro_batch: int | None = None
    """Samples of a process's batch that are computed together (`MicroBatches`); None for all."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Budget of a stage, by its name: the stage ends when `Stage.seconds` reaches it."""


def check_batch_sizes(config: TrainConfig, stages: tuple[str, ...], group: Group) -> None:
    """
    Raises:
        ConfigError: the batch of a stage cannot be shared by the group.
    """
    for name in set(stages) & set(config.stages):
        group.local_batch_size(f"{name}.batch_size", getattr(config, name).batch_size)
