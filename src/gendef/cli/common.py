"""Options that every command has, and the set-up of logging."""

import logging
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Common:
    """Messages and errors."""

    debug: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show the traceback of an error."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """Least severe messages to show on standard error."""


COMMON = Common()
CommonOptions = Annotated[Common, tyro.conf.arg(name="")]
"""Type of the last field of a command's arguments: its fields are options without a prefix."""


class _StandardError(logging.Handler):
    """Writes to the current `sys.stderr`, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class _Formatter(logging.Formatter):
    """Messages as "warning: ..."."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {super().format(record)}"


def set_up_logging(common: Common) -> None:
    """Show the messages of all loggers below "gendef" on standard error.

    Called again, it replaces what it set up before.
    """
    handler = _StandardError()
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("gendef")
    logger.handlers = [handler]
    logger.setLevel(common.log_level.upper())
