"""A fit that runs in a thread of its own."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gendef.fitting import FitOptions, Progress
    from gendef.video.base import Video

PREVIEW_SECONDS = 1.0
"""Longest wait for a progress report before looking whether the fit has ended."""


class Cancelled(Exception):
    """Raised inside a fit to end it."""


class FitJob:
    """One fit in a thread of its own, which can be followed and cancelled.

    Args:
        path: of the video; its longest scene is fitted.
        options: of the fit.
    """

    def __init__(self, path: str | Path, options: "FitOptions") -> None:
        self._path, self._options = path, options
        self._reports: queue.SimpleQueue[Progress] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._video: Video | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled before it was finished."""
        return self._stop.is_set() and self._video is None

    def cancel(self) -> None:
        """End it after the present step."""
        self._stop.set()

    def progress(self) -> Iterator["Progress"]:
        """Run the fit; gives its progress reports, skipping those that were not read in time."""
        self._thread.start()
        while self._thread.is_alive():
            try:
                progress = self._reports.get(timeout=PREVIEW_SECONDS)
                while not self._reports.empty():
                    progress = self._reports.get()
            except queue.Empty:
                continue
            yield progress
        if self._error is not None:
            raise self._error

    def result(self) -> "Video":
        """The fitted clip, once `progress` has ended."""
        assert self._video is not None
        return self._video

    def _run(self) -> None:
        from gendef import fitting

        def on_progress(progress: "Progress") -> None:
            if self._stop.is_set():
                raise Cancelled
            self._reports.put(progress)

        try:
            (self._video,) = fitting.fit_scenes(self._path, self._options, on_progress=on_progress, scenes="longest")
        except Cancelled:
            pass
        except Exception as error:
            self._error = error
