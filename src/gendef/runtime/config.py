"""Configuration dataclasses from plain values, with strict types."""

import dataclasses
from typing import Any

from gendef.errors import ConfigError


def build_config(cls: Any, values: Any, name: str) -> Any:
    """A configuration dataclass from plain values.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must be a table of fields, got {values!r}")
    known = {item.name: item for item in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"{name} has no field {unknown[0]!r}; known: {', '.join(known)}")
    for key, value in values.items():
        kind = getattr(known[key].type, "__name__", "")
        expected: tuple[type, ...] = {"int": (int,), "bool": (bool,), "float": (int, float)}.get(kind, ())
        if expected and (not isinstance(value, expected) or (kind != "bool" and isinstance(value, bool))):
            raise ConfigError(f"{name}.{key} must be {kind}, got {value!r}")
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error
