"""`--processes`: starts several processes of a program on this machine, with torchrun's environment.

It does not use torchrun's elastic agent, which kills processes 30 seconds after SIGTERM, before a large state is saved,
and prints its own traceback after the message of the process that failed.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gendef.training.distributed import LAUNCHER_PID

_log = logging.getLogger(__name__)

GRACE = 15.0
"""Seconds after a failure until the other processes, which normally end by themselves, are killed."""


def start_processes(command: list[str], count: int) -> int:
    """Run `command` in `count` processes with torchrun's environment; returns the exit status of the first failure.

    CPU threads are divided among them. SIGINT and SIGTERM are passed on. If one process fails, all end.
    """
    threads = max(torch.get_num_threads() // count, 1)
    shared = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": str(threads),
        LAUNCHER_PID: str(os.getpid()),
    }
    if sys.platform == "linux":
        shared.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the host's own name may resolve to nothing
    processes: list[subprocess.Popen[bytes]] = []
    with _signals_for(processes):
        try:
            for rank in range(count):
                own = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                # Sessions of their own: a Ctrl-C reaches each process once, through us.
                processes.append(subprocess.Popen(command, env=own, start_new_session=True))
            return _supervise(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _supervise(processes: list[subprocess.Popen[bytes]]) -> int:
    """Exit status: 0 if all processes succeed, else that of the first failure."""
    running = dict(enumerate(processes))
    status, deadline = 0, float("inf")
    while running and time.monotonic() < deadline:
        time.sleep(0.05)
        for rank, process in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            del running[rank]
            if code < 0:
                _log.error(_signal_message(rank, len(processes), -code))
            if code and not status:
                # As a shell reports a signal.
                status, deadline = code if code > 0 else 128 - code, time.monotonic() + GRACE
    return status


def _signal_message(rank: int, count: int, number: int) -> str:
    cause = ", often for want of memory" if number == signal.SIGKILL else ""
    return f"process {rank} of {count} was ended by signal {number} ({signal.Signals(number).name}{cause})"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _signals_for(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass SIGINT and SIGTERM on while active."""

    def pass_on(number: int, frame: Any) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
