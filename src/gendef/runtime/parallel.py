"""Work on frames in parallel: one thread per core, each with single-threaded operations.

Operations on one frame are small; splitting each of them over the cores costs more than it gains, and on a busy machine
a hundred times more, since every split waits for the slowest part.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


class Workers:
    """Threads that work on frames; use `workers()`."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def each(self, work: Callable[[int], None], count: int) -> None:
        """Call `work` with 0 ... count - 1, in any order; the first error is raised here."""
        for result in [self._pool.submit(work, number) for number in range(count)]:
            result.result()


@contextmanager
def workers() -> Iterator[Workers]:
    """Threads for the block; meanwhile torch uses one thread for each operation, and records no gradients."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(available_cores(), initializer=_prepare) as pool, torch.no_grad():
            yield Workers(pool)
    finally:
        torch.set_num_threads(before)


def _prepare() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
