"""Motion data from many videos: in several processes, and resumable source by source."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gendef.animation.motion_windows import MotionDataConfig, motion_windows
from gendef.data.motions import MotionSet, joined
from gendef.data.workers import default_workers
from gendef.errors import DataError
from gendef.media.sources import Source, discover
from gendef.media.video_reader import probe

_POLL_SECONDS = 0.2
_shared: dict[str, Any] = {}


@dataclass(frozen=True)
class MotionReport:
    """What became of the videos.

    Attributes:
        out: the file.
        windows, left_out: how many are in it, and how many the photometric test left out.
        sources: for every video its name, label, frames, shots, windows and what was left out.
        skipped: videos that could not be read, with the reason.
        seconds: time it took.
    """

    out: str
    windows: int
    left_out: int
    sources: list[dict[str, Any]]
    skipped: list[dict[str, str]]
    seconds: float


@dataclass(frozen=True)
class MotionProgress:
    """How far it is: frames done and in all (0 if unknown), videos done and in all."""

    frames_done: int
    frames_total: int
    sources_done: int
    sources_total: int


def make_motion_data(
    paths: Sequence[Path],
    out: Path,
    config: MotionDataConfig | None = None,
    *,
    label: str | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    workers: int | None = None,
    progress: Callable[[MotionProgress], None] = lambda progress: None,
) -> MotionReport:
    """Write motion data of videos. Interrupted, the same call goes on with the videos that are not done.

    Args:
        paths: video files, folders of frames, folders of those, zips of clips.
        out: the file to write. Videos that are done wait in a folder beside it until all are.
        label: domain of the videos; default the name of `out`.
        only, exclude: shell patterns of sources to use, or to leave out.
        workers: processes; default one for each CPU.
        progress: called several times a second.

    Raises:
        DataError: a path holds no video, no window is left, or a worker died.
    """
    config, started = config or MotionDataConfig(), time.perf_counter()
    sources = discover(paths, only, exclude)
    name = label or out.stem
    parts = out.with_name(out.name + ".parts")
    parts.mkdir(parents=True, exist_ok=True)
    jobs = [(source, config, name, parts / f"{_key(source, config, name)}.safetensors") for source in sources]
    todo = [job for job in jobs if not job[3].is_file()]
    total = sum(probe(source).frames for source, *_ in todo)
    skipped: list[dict[str, str]] = []
    done = len(jobs) - len(todo)
    for source, reason, frames in _results(todo, workers or default_workers()):
        if source is not None:
            done += 1
            if reason:
                skipped.append({"source": source.name, "reason": reason})
        progress(MotionProgress(frames, total, done, len(jobs)))
    sets = [MotionSet.load(part) for *_, part in jobs if part.is_file()]
    if not sum(map(len, sets)):
        raise DataError(
            f"none of the {len(jobs)} videos gives a motion window: each needs a shot of 33 frames or more whose motion"
            " optical flow can follow (--least-psnr and --least-gain decide)"
        )
    whole = joined(sets)
    whole.save(out)
    shutil.rmtree(parts)
    left_out = sum(source["left_out"] for source in whole.sources)
    return MotionReport(
        str(out), len(whole), left_out, list(whole.sources), skipped, round(time.perf_counter() - started, 1)
    )


def _key(source: Source, config: MotionDataConfig, label: str) -> str:
    """Names the windows of one video: another video, setting or label has another name."""
    changed = source.path.stat().st_mtime_ns
    text = json.dumps([source.identity, source.inner, str(source.path.resolve()), changed, label, asdict(config)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


_Job = tuple[Source, MotionDataConfig, str, Path]


_Results = Iterator[tuple[Source | None, str, int]]
"""A source that is done (None: none is) and why it failed, if it did; and the frames that were read so far."""


def _results(jobs: list[_Job], workers: int) -> _Results:
    return _in_this_process(jobs) if workers == 1 else _in_pool(jobs, workers)


def _in_this_process(jobs: list[_Job]) -> _Results:
    frames = 0

    def tick() -> None:
        nonlocal frames
        frames += 1

    for job in jobs:
        yield None, "", frames
        yield job[0], _made(job, tick), frames


def _in_pool(jobs: list[_Job], workers: int) -> _Results:
    if not jobs:
        return
    # Spawned, not forked: this process may hold threads whose locks a fork would freeze.
    context = multiprocessing.get_context("spawn")
    stop, count = context.Event(), context.Value("Q", 0)
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=_start, initargs=(stop, count))
    waiting: dict[Future[str], Source] = {pool.submit(_work, job): job[0] for job in jobs}
    try:
        while waiting:
            ended, _ = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
            yield None, "", count.value
            for future in ended:
                yield waiting.pop(future), future.result(), count.value
    except BrokenProcessPool as error:
        names = [source.name for future, source in waiting.items() if future.done() or future.running()]
        raise DataError(
            f"a worker process died while reading {' or '.join(names[: workers + 1])} (out of memory, or a file that"
            " crashes its decoder); use fewer --workers, or leave the file out with --exclude"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


class _Stopped(Exception):
    """The main process gave up; the worker leaves its video."""


def _start(stop: Any, count: Any) -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process tells the workers to end
    cv2.setNumThreads(1)
    _shared.update(stop=stop, count=count, parent=os.getppid())


def _work(job: _Job) -> str:
    return _made(job, _tick)


def _made(job: _Job, tick: Callable[[], None]) -> str:
    """Make the windows of one video; the reason if it cannot be read."""
    source, config, label, part = job
    try:
        motion_windows(source, config, label, tick).save(part)
    except DataError as error:
        return str(error)
    return ""


def _tick() -> None:
    # A main process that was killed cannot set the event; its workers get another parent.
    if _shared["stop"].is_set() or os.getppid() != _shared["parent"]:
        raise _Stopped
    with _shared["count"].get_lock():
        _shared["count"].value += 1
