"""Reports of measures: values for each seed, settings and warnings, as JSON."""

import json
import math
import platform
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gendef._version import __version__


@dataclass
class SeededValue:
    """A measure for each seed.

    Attributes:
        name: of the measure.
        values: one per seed.
        errors: standard error of each value, if the measure estimates it.
    """

    name: str
    values: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def facts(self) -> dict[str, Any]:
        """Plain values for reports."""
        facts = {"mean": self.mean, "spread_over_seeds": self.spread, "values": self.values}
        return facts | ({"spread_over_subsets": self.errors} if self.errors else {})


@dataclass
class Report:
    """Measured values with the settings that produced them.

    Attributes:
        results: the measures.
        facts: all settings needed to reproduce the numbers, as plain values.
        warnings: reasons why the numbers may not be comparable.
    """

    results: list[SeededValue]
    facts: dict[str, Any]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        results = {value.name: value.facts() for value in self.results}
        return {"results": results, "warnings": self.warnings, **self.facts}


def versions() -> dict[str, str]:
    """Versions of gendef, torch, numpy and Python."""
    return {
        "gendef": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def to_json(report: dict[str, Any]) -> str:
    """A report as strict JSON; values that are not finite, such as a missing spread, become null."""
    return json.dumps(_finite(report), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
