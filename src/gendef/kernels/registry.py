"""The registry of kernels: each operation has a plain torch form and, beside it, faster forms for some processors.

Layers call operations through a `Kernel`, never a fast form itself. `GENDEF_KERNELS=plain` in the environment turns all
fast forms off, `plain_forms()` does so for a block. A fast form whose package is not installed is left out.
"""

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gendef.errors import ConfigError

VARIABLE = "GENDEF_KERNELS"
"""Environment variable: "plain" turns all fast forms off; "fast", or nothing, leaves them on."""
_OPTIONAL = ("numba", "llvmlite", "triton")
"""Packages that fast forms are written in."""
_ALL = "*"

_kernels: dict[str, "Kernel"] = {}


class FastForm:
    """A faster way to compute an operation.

    Args:
        name: of the technique, for reports.
        function: the operation; or "module:function" inside of `gendef.kernels`, imported at the first use.
        suits: whether this form supports the arguments and is faster for them; called with the operation's arguments.
    """

    def __init__(self, name: str, function: str | Callable[..., Any], suits: Callable[..., bool]) -> None:
        self.name, self.suits = name, suits
        self._place = function if isinstance(function, str) else ""
        self._function = None if isinstance(function, str) else function
        self._failed = False

    def function(self) -> Callable[..., Any] | None:
        """The operation; None where its package is missing, or, with a warning, broken."""
        if self._function is None and not self._failed:
            module, _, function = self._place.partition(":")
            try:
                self._function = getattr(importlib.import_module(f"gendef.kernels.{module}"), function)
            except (ImportError, OSError, AttributeError, RuntimeError) as error:
                self._failed = True
                if not (isinstance(error, ModuleNotFoundError) and error.name in _OPTIONAL):
                    warnings.warn(
                        f"{self.name} cannot be used here ({type(error).__name__}: {error}): torch takes its place",
                        stacklevel=2,
                    )
        return self._function


class Kernel:
    """An operation on tensors.

    Args:
        name: unique.
        plain: its form in torch's operators, the reference for all others.
        forms: faster forms, of which the first that suits the arguments is taken.
    """

    def __init__(self, name: str, plain: Callable[..., Any], *forms: FastForm) -> None:
        self.name, self.plain, self.forms = name, plain, forms
        _kernels[name] = self

    def __call__(self, *arguments: Any) -> Any:
        """The operation, by the first fast form that takes these arguments, else by the plain form."""
        function = self.fast(*arguments)
        return self.plain(*arguments) if function is None else function(*arguments)

    def fast(self, *arguments: Any) -> Callable[..., Any] | None:
        """The fast form for these arguments; None where the plain form is taken."""
        if _ALL in _plain or self.name in _plain:
            return None
        for form in self.forms:
            if form.suits(*arguments):
                function = form.function()
                if function is not None:
                    return function
        return None


def kernels() -> dict[str, Kernel]:
    """All registered kernels by name."""
    return dict(_kernels)


@contextmanager
def plain_forms(*names: str) -> Iterator[None]:
    """Inside the block the kernels `names`, or all where none is named, take their plain form, in all threads.

    Raises:
        KeyError: there is no kernel of such a name.
    """
    global _plain
    before = _plain
    for name in names:
        _kernels[name]
    _plain = before | (set(names) or {_ALL})
    try:
        yield
    finally:
        _plain = before


def _from_environment() -> frozenset[str]:
    value = os.environ.get(VARIABLE, "").strip().lower()
    if value not in ("", "fast", "plain"):
        raise ConfigError(f"{VARIABLE} must be fast or plain, got {value!r}")
    return frozenset({_ALL} if value == "plain" else ())


_plain = _from_environment()
