"""A lock file that one process at a time can hold, and that the end of the process releases."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Owner:
    """The process that holds or held a lock: host name and process id."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class LockedError(Exception):
    """Another process holds the lock.

    Args:
        owner: that process, None where the file does not say.
        elsewhere: whether it ran on another machine, whose end cannot be noticed from here.
    """

    def __init__(self, owner: Owner | None, elsewhere: bool) -> None:
        super().__init__(str(owner))
        self.owner, self.elsewhere = owner, elsewhere


@contextmanager
def locked(path: Path) -> Iterator[Owner | None]:
    """Hold the lock file `path` during the block.

    The operating system releases the lock when the process ends in any way, so that a killed process leaves none on its
    own machine. The file stays; it is empty while nobody holds the lock. On Windows nothing is locked.

    Yields:
        The owner of a stale lock that was taken over, or None.

    Raises:
        LockedError: another process holds the lock, or a process of another machine has not given it back.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(read_owner(path), elsewhere=False) from None
        stale = read_owner(path)
        own = Owner(socket.gethostname(), os.getpid())
        if stale is not None and stale.host != own.host:
            raise LockedError(stale, elsewhere=True)
        file.truncate(0)
        file.write(json.dumps({"host": own.host, "pid": own.pid}))
        file.flush()
        try:
            yield stale
        finally:
            file.truncate(0)


def read_owner(path: Path) -> Owner | None:
    """The owner that the lock file names; None for an empty or unreadable file."""
    try:
        values = json.loads(path.read_text())
        return Owner(str(values["host"]), int(values["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
