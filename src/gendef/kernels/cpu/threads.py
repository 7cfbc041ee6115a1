"""Independent pieces of a layer on as many threads as torch uses: each goes through all its steps in one core's cache.

Within a piece torch's own operators are single-threaded, so that no step of one piece waits for another's. Where torch
has its threads from OpenMP with GNU's entrances (Linux), the main thread's pieces run on these very threads: others
would compete with them, which look for new work for some milliseconds before they sleep. Otherwise a pool of threads
takes the pieces.
"""

import ctypes
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import torch

from gendef.kernels.buffers import Table, workspaces

Item = TypeVar("Item")

LEAST_OPERATIONS = 1e8
"""Work below which threads, even OpenMP's, cost more than they gain."""
POOL_FACTOR = 4
"""Factor on that work for a pool, whose threads sleep."""

TORCH = str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")
"""The library whose threads are asked for, on Linux."""

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()
_forked = False
_tables: list[Table] = []
"""Workspaces of OpenMP's threads, by their number in the team: the threads themselves come and go."""


def _forget() -> None:
    """Reset the state in a forked process, which has neither the pools' threads nor OpenMP's."""
    global _lock, _forked
    _pools.clear()
    _lock = threading.Lock()
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def useful_threads(operations: float) -> int:
    """Number of threads for this amount of work: torch's, or one, for which torch's operators use all threads."""
    least = LEAST_OPERATIONS * (POOL_FACTOR if _team_here() is None else 1)
    return torch.get_num_threads() if operations >= least else 1


def for_each(function: Callable[[Item], None], items: Iterable[Item], threads: int) -> None:
    """`function` of every item, in any order, without gradients, on as many threads.

    Raises:
        Exception: one that a call raised; items that had not begun are left out then, the others have ended.
    """
    pieces = list(items)
    count = min(threads, len(pieces))
    if count < 2:
        with torch.no_grad():
            for piece in pieces:
                function(piece)
        return
    waiting = iter(pieces)
    taking = threading.Lock()
    stop = threading.Event()

    @torch.no_grad()
    def work() -> None:
        while not stop.is_set():
            with taking:
                piece = next(waiting, None)
            if piece is None:
                return
            try:
                function(piece)
            except BaseException:
                stop.set()
                raise

    team = _team_here()
    if team is not None:
        # Of all threads, however few the pieces: OpenMP ends those that a smaller team leaves out.
        _in_team(team, work, stop, threads)
        return
    futures = [_pool(threads).submit(work) for _ in range(count)]
    try:
        for future in futures:
            future.result()
    finally:
        stop.set()
        wait(futures)


_Region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@functools.cache
def _openmp() -> Any:
    """The entrance to a parallel region, of the library that torch itself uses, or None."""
    if sys.platform != "linux":
        return None
    for library in (None, TORCH):  # as the linker looks for it: a library that was preloaded comes first
        try:
            enter = ctypes.CDLL(library).GOMP_parallel
        except (OSError, AttributeError):
            continue
        enter.argtypes, enter.restype = [_Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
        return enter
    return None


def _team_here() -> Any:
    """OpenMP's entrance where it may be used: each other thread that calls would get threads of its own from it."""
    return None if _forked or threading.current_thread() is not threading.main_thread() else _openmp()


def _in_team(enter: Any, work: Callable[[], None], stop: threading.Event, threads: int) -> None:
    """`work` on OpenMP's threads, the calling one among them; `stop` is set when one of them fails."""
    failures: list[BaseException] = []
    numbers = itertools.count()
    _tables.extend({} for _ in range(threads - len(_tables)))

    def region(_: Any) -> None:
        try:
            with workspaces(_tables[next(numbers)]):
                work()
        except BaseException as error:
            failures.append(error)
            stop.set()

    enter(_Region(region), None, threads, 0)
    if failures:
        try:
            # A Ctrl-C before what it interrupted.
            raise next((error for error in failures if not isinstance(error, Exception)), failures[0])
        finally:
            failures.clear()  # or it would hold itself, and what its frames hold


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            # Every thread says that it has one thread for torch, which is also what threads made later begin with: all
            # of them start here, and the number is given back.
            before = torch.get_num_threads()
            together = threading.Barrier(threads + 1)
            pool = ThreadPoolExecutor(threads, "gendef", _single_threaded)
            try:
                for _ in range(threads):
                    pool.submit(together.wait)
                together.wait()
            except BaseException:
                together.abort()
                pool.shutdown(wait=False)
                raise
            finally:
                torch.set_num_threads(before)
            _pools[threads] = pool
        return _pools[threads]


def _single_threaded() -> None:
    torch.get_num_threads()  # the first question in a thread sets the number to that of the process
    torch.set_num_threads(1)
