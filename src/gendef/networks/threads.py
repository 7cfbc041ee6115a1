"""Independent pieces of a layer on as many threads as torch uses: each goes through all its steps in one core's cache.

Within a piece torch's own operators are single-threaded, so that no step of one piece waits for another's.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Item = TypeVar("Item")

LEAST_OPERATIONS = 4e8
"""Less takes a processor so few milliseconds that waking other threads does not pay."""

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _forget() -> None:
    """In a forked process, which has the pools, but not their threads."""
    global _lock
    _pools.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def useful_threads(operations: float) -> int:
    """The threads for so much work: as many as torch has, or one, whose operators of torch then have them all."""
    return torch.get_num_threads() if operations >= LEAST_OPERATIONS else 1


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

    futures = [_pool(threads).submit(work) for _ in range(count)]
    try:
        for future in futures:
            future.result()
    finally:
        stop.set()
        wait(futures)


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
