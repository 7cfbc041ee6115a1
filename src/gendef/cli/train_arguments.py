"""Arguments of `gendef train` for GANs. They import without torch, so that `--help` is quick."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions
from gendef.errors import ConfigError
from gendef.networks.generator_config import ModelName
from gendef.training.config import TrainConfig
from gendef.training.presets import PresetName


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    data: Path
    """Data archive made by `gendef data prepare`."""
    out: Path
    """Folder of the run: checkpoints, models, previews, metrics."""
    training: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    preset: PresetName = "mini64"
    """Preset that gives the defaults of all settings."""
    model: ModelName = "gendef"
    """GenDeF, or a baseline of the paper's Table 1 with networks of the same widths."""
    config: Path | None = None
    """YAML file with settings that differ from the preset."""
    stage: Literal["pretrain", "finetune", "both"] = "both"
    """Run one stage alone, or both."""
    minutes: float | None = None
    """Stop after this many minutes, with everything saved."""
    snapshot_minutes: float = 10.0
    """Minutes between two checkpoints with previews."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    micro_batch: int | None = None
    """Samples of a process's batch that are computed at once; fewer need less memory and one more forward pass."""
    processes: int = 1
    """Training processes on this machine: one per GPU, or each with a share of the CPU's threads. For several
    machines use torchrun."""
    common: CommonOptions = COMMON


def from_file(path: Path, base: TrainConfig) -> TrainConfig:
    """`base` with what the YAML file at `path` says otherwise.

    Raises:
        ConfigError: it cannot be read, or a field does not exist or is impossible.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a table of fields")
    return TrainConfig.from_dict(_merged(base.to_dict(), values.get("training", values)))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        inner = base.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
