"""Pieces on threads: all of them once, no gradients, errors, and torch's number of threads left as it was."""

import ctypes
import os
import signal
import threading
from collections.abc import Iterator

import pytest
import torch

from gendef.kernels.buffers import workspace
from gendef.kernels.cpu import threads as module
from gendef.kernels.cpu.threads import LEAST_OPERATIONS, for_each, useful_threads

OPENMP = pytest.param("openmp", marks=pytest.mark.skipif(module._openmp() is None, reason="torch has other threads"))


@pytest.fixture(params=[OPENMP, "pool"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose threads take the pieces."""
    if request.param == "pool":
        monkeypatch.setattr(module, "_openmp", lambda: None)
    return str(request.param)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_item_comes_once_without_gradients(threads: int) -> None:
    done: list[int] = []
    modes = set()

    def work(item: int) -> None:
        modes.add(torch.is_grad_enabled())
        done.append(item)

    for_each(work, iter(range(50)), threads)
    assert sorted(done) == list(range(50))
    assert modes == {False} and torch.is_grad_enabled()
    for_each(work, [], threads)
    assert len(done) == 50


def test_items_are_at_work_at_the_same_time_and_each_has_one_thread_for_torch(kind: str) -> None:
    before = torch.get_num_threads()
    inside = ctypes.CDLL(module.TORCH).omp_in_parallel if kind == "openmp" else None
    torch.set_num_threads(3)
    try:
        together = threading.Barrier(3, timeout=60)
        counts = []

        def work(_: int) -> None:
            together.wait()  # breaks unless three are here
            # Inside of a parallel region torch begins no other.
            counts.append(1 if inside and inside() else torch.get_num_threads())

        for_each(work, range(3), 3)
        assert counts == [1, 1, 1]
        assert torch.get_num_threads() == 3
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [3]
    finally:
        torch.set_num_threads(before)


def test_an_error_is_raised_and_the_next_call_works(threads: int) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 0:
            raise ValueError("item 0")
        done.append(item)

    with pytest.raises(ValueError, match="item 0"):
        for_each(work, [0] * 3 + list(range(1, 1000)), threads)
    assert len(done) < 999
    done.clear()
    for_each(done.append, range(5), threads)
    assert sorted(done) == list(range(5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for_each(lambda _: None, range(4), 2)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(60)
                done: list[int] = []
                for_each(done.append, range(4), 2)
                status = 0 if sorted(done) == list(range(4)) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)


def test_little_work_stays_on_the_calling_thread(threads: int) -> None:
    least = LEAST_OPERATIONS * (1 if module._team_here() is not None else module.POOL_FACTOR)
    assert useful_threads(least - 1) == 1
    assert useful_threads(least) == threads


def test_threads_and_their_workspaces_are_kept(threads: int) -> None:
    places: set[int] = set()
    workers: set[int] = set()

    def work(_: int) -> None:
        workers.add(threading.get_native_id())
        places.add(workspace("of a test", torch.empty(0), 1000).data_ptr())

    for pieces in (4, 2, 9, 2, 50):
        for_each(work, range(pieces), threads)
    assert len(places) <= threads
    assert len(workers) <= threads


def test_a_ctrl_c_comes_before_other_errors(threads: int) -> None:
    together = threading.Barrier(threads, timeout=60)

    def work(item: int) -> None:
        together.wait()
        raise KeyboardInterrupt if item == threads - 1 else ValueError(item)

    with pytest.raises((KeyboardInterrupt, ValueError)) as raised:
        for_each(work, range(threads), threads)
    if module._team_here() is not None or threads == 1:
        assert raised.type is KeyboardInterrupt


def test_another_thread_than_the_main_one_can_call(threads: int) -> None:
    done: list[int] = []
    names: set[str] = set()

    def work(item: int) -> None:
        names.add(threading.current_thread().name)
        done.append(item)

    caller = threading.Thread(target=lambda: for_each(work, range(50), threads), name="caller")
    caller.start()
    caller.join(60)
    assert sorted(done) == list(range(50))
    assert all(name.startswith("caller" if threads == 1 else "gendef") for name in names)


def test_a_pool_that_cannot_start_leaves_everything_as_it_was(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind != "pool":
        pytest.skip("of the pool")
    before = torch.get_num_threads()
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) > 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start"):
        for_each(lambda _: None, range(9), 7)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert torch.get_num_threads() == before
    started[0].join(60)
    assert not started[0].is_alive()
    done: list[int] = []
    for_each(done.append, range(9), 7)
    assert sorted(done) == list(range(9))
