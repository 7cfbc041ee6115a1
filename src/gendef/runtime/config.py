"""Configuration dataclasses whose fields have strict types and ranges.

A field's type hint is its rule: `Annotated[int, Range(least=1)]`, `Literal["zero", "none"]`, `float | None`, a tuple or
another configuration. Pydantic would do the same, but networks and training must import without it.
"""

import dataclasses
import functools
import math
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from gendef.errors import ConfigError

Config = TypeVar("Config")


@dataclass(frozen=True)
class Range:
    """Allowed values of a number: `least` <= value <= `most`, `above` < value < `below`; none is no bound."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    multiple_of: int | None = None
    power_of_two: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is allowed."""
        inside = (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if not inside or (self.multiple_of is not None and value % self.multiple_of):
            return False
        return not self.power_of_two or math.log2(value).is_integer()

    def __str__(self) -> str:
        parts = [
            f"{sign} {bound:g}"
            for sign, bound in ((">=", self.least), (">", self.above), ("<=", self.most), ("<", self.below))
            if bound is not None
        ]
        if self.multiple_of is not None:
            parts.append(f"a multiple of {self.multiple_of}")
        if self.power_of_two:
            parts.append("a power of two")
        return " and ".join(parts)


Positive = Annotated[int, Range(least=1)]
"""An integer of at least 1."""
Count = Annotated[int, Range(least=0)]
"""An integer of at least 0."""
Weight = Annotated[float, Range(least=0)]
"""A number of at least 0."""
PositiveFloat = Annotated[float, Range(above=0)]
"""A number above 0."""
Decay = Annotated[float, Range(least=0, below=1)]
"""A number in [0, 1), such as a decay of Adam."""
Fraction = Annotated[float, Range(least=0, most=1)]
"""A number in [0, 1]."""

_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "none"}


def check_config(config: Any, name: str) -> None:
    """Check all fields of a configuration dataclass against their type hints; call it first in `__post_init__`.

    Args:
        name: of the configuration, for the message: "canonical" gives "canonical.channel_max must be ...".

    Raises:
        ConfigError: a field has another type or lies outside its range. It names field, allowed values and value.
    """
    for field, hint in _hints(type(config)).items():  # type: ignore[arg-type]
        value = getattr(config, field)
        if not _fits(value, hint):
            raise ConfigError(f"{name}.{field} must be {_described(hint)}, got {value!r}")


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls)}


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _fits(value, parts[0]) and all(rule.holds(value) for rule in parts[1:] if isinstance(rule, Range))
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(parts) == 2 and parts[1] is Ellipsis:
            return all(_fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _described(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        rules = [str(rule) for rule in parts[1:] if isinstance(rule, Range)]
        return " ".join([_described(parts[0]), *rules])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_described, parts))
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return f"a list, each item {_described(parts[0])}"
        return f"a list of {len(parts)}: {', '.join(map(_described, parts))}"
    return _NAMES.get(hint, f"a {getattr(hint, '__name__', hint)}")


def build_config(cls: type[Config], values: Any, name: str) -> Config:
    """A configuration dataclass from plain values, as they come from JSON and YAML; its fields check themselves.

    Raises:
        ConfigError: an unknown field, a wrong type or a value outside its range.
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must be a table of fields, got {values!r}")
    known = list(_hints(cls))  # type: ignore[arg-type]
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise ConfigError(f"{name} has no field {unknown[0]!r}; known: {', '.join(known)}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
