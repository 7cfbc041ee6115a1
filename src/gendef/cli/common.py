"""Options that every command has."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Common:
    """Messages and errors."""

    debug: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show the traceback of an error."""
    log_level: LogLevel = "warning"
    """Least severe messages to show on standard error."""


COMMON = Common()
CommonOptions = Annotated[Common, tyro.conf.arg(name="")]
"""Type of the last field of a command's arguments: its fields are options without a prefix."""
