"""Reads the sources of a preparation in several processes; results come in order, and a dead worker is an error."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendef.data.extract import Extracted, PrepareConfig, extract
from gendef.errors import DataError
from gendef.media.sources import Source

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """One source, and the file its encoded frames go to."""

    source: Source
    config: PrepareConfig
    spool: Path


class _Stopped(Exception):
    """The main process asked the workers to stop."""


Results = Generator[tuple[Job, Extracted | str], None, None]
_shared: dict[str, Any] = {}


def default_workers() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(jobs: list[Job], workers: int, tick: Callable[[int], None]) -> Results:
    """Run jobs and yield each with its result, in order; the result of an unreadable source is the reason, a string.

    Args:
        workers: processes; 1 works in this one.
        tick: called about five times a second, and after every job, with the number of frames read so far.

    Raises:
        DataError: a worker died, for instance because memory ran out.
        OSError: a spool file cannot be written.
    """
    return _in_this_process(jobs, tick) if workers == 1 else _in_pool(jobs, workers, tick)


def _in_this_process(jobs: list[Job], tick: Callable[[int], None]) -> Results:
    frames = 0

    def count() -> None:
        nonlocal frames
        frames += 1
        if frames % 32 == 0:
            tick(frames)

    for job in jobs:
        yield job, _result(job, 0, count)
        tick(frames)


def _result(job: Job, threads: int, tick: Callable[[], None]) -> Extracted | str:
    try:
        return extract(job.source, job.config, job.spool, threads=threads, tick=tick)
    except DataError as error:
        # The place is named beside the reason, and machine paths have no business in an archive.
        path = job.source.path
        return str(error).removeprefix(job.source.name).lstrip(": ").replace(str(path), path.name)


def _in_pool(jobs: list[Job], workers: int, tick: Callable[[int], None]) -> Results:
    # Spawned, not forked: this process may hold threads (a progress bar, torch) whose locks a fork would freeze.
    context = multiprocessing.get_context("spawn")
    stop, count = context.Event(), context.Value("Q", 0)
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(stop, count))
    try:
        futures: list[Future[Extracted | str]] = [pool.submit(_work, job) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            while not future.done():
                wait([future], timeout=_POLL_SECONDS)
                tick(count.value)
            yield job, future.result()
            tick(count.value)
    except BrokenProcessPool as error:
        # Jobs are started in order, so the dead one is among the first that did not end well.
        failed = [job.source.name for job, future in zip(jobs, futures, strict=True) if not _ended_well(future)]
        raise DataError(
            f"a worker process died while reading {' or '.join(failed[:workers])} (out of memory, or a file that"
            " crashes its decoder); use fewer --workers, or leave the file out with --exclude"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _ended_well(future: "Future[Extracted | str]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _start_worker(stop: Any, count: Any) -> None:
    # Ctrl-C reaches the whole process group; the main process tells the workers to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared.update(stop=stop, count=count)
    threading.Thread(target=_end_with_parent, daemon=True, name="parent watch").start()


def _end_with_parent() -> None:
    """End this process immediately when the main process has ended, which after SIGKILL cannot tell its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _work(job: Job) -> Extracted | str:
    return _result(job, 1, _tick)


def _tick() -> None:
    if _shared["stop"].is_set():
        raise _Stopped
    with _shared["count"].get_lock():
        _shared["count"].value += 1
