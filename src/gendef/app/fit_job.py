"""A fit that runs in a thread of its own."""

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gendef.fitting.schedule import Moment
    from gendef.video.canonical_video import CanonicalVideo

PREVIEW_SECONDS = 1.0
"""How long to wait for news of a fit before looking whether it ended."""


class Cancelled(Exception):
    """Raised inside a fit to end it."""


class FitJob:
    """One fit in a thread of its own, which can be watched and ended.

    Args:
        path, size, start, frames, budget, illumination: see `gendef.fit_video`.
    """

    def __init__(
        self, path: str, size: int, start: int, frames: int, budget: float, illumination: bool = False
    ) -> None:
        self._arguments: dict[str, Any] = {
            "size": size,
            "start": start,
            "frames": frames,
            "budget": budget,
            "illumination": illumination,
        }
        self._path = path
        self._news: queue.SimpleQueue[Moment] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._video: CanonicalVideo | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def cancelled(self) -> bool:
        """Whether it was ended before it was done."""
        return self._stop.is_set() and self._video is None

    def cancel(self) -> None:
        """End it after the step it is at."""
        self._stop.set()

    def moments(self) -> Iterator["Moment"]:
        """Run it; what it tells, the latest only where it tells more than can be shown."""
        self._thread.start()
        while self._thread.is_alive():
            try:
                moment = self._news.get(timeout=PREVIEW_SECONDS)
                while not self._news.empty():
                    moment = self._news.get()
            except queue.Empty:
                continue
            yield moment
        if self._error is not None:
            raise self._error

    def result(self) -> "CanonicalVideo":
        """The fitted clip, once `moments` has ended."""
        assert self._video is not None
        return self._video

    def _run(self) -> None:
        from gendef.fitting import fit_video

        def watch(moment: "Moment") -> None:
            if self._stop.is_set():
                raise Cancelled
            self._news.put(moment)

        try:
            self._video = fit_video(self._path, watcher=watch, **self._arguments)
        except Cancelled:
            pass
        except Exception as error:
            self._error = error
