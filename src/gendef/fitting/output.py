"""Where the clips of a fit are written: folders, previews while a fit runs, and states to continue from."""

import time
from pathlib import Path
from typing import Any

from gendef.fitting.checkpoint import StateFolder
from gendef.fitting.progress import Progress
from gendef.media.images import to_uint8, write_image
from gendef.runtime.resume_file import keeping_damaged
from gendef.video.base import Video
from gendef.video.clip_format import CANONICAL, META, check_replaceable

PREVIEW_EVERY = 5.0
"""Least number of seconds between two previews."""


def clip_folder(out: str | Path, scene: int, scenes: int) -> Path:
    """The clip folder of a scene: `out` itself, or a folder in it if there are several scenes."""
    return Path(out) if scenes == 1 else Path(out) / f"scene{scene:02d}"


class ClipOutput:
    """The folder of one scene's clip.

    Args:
        folder: the clip folder; it need not exist.
        job: identifies the fit; see `gendef.fitting.checkpoint.fit_job`.

    Raises:
        InputError: the folder is a file, or holds anything but a clip.
    """

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        check_replaceable(folder)
        self.states = StateFolder(folder, job)
        self._folder, self._shown = folder, time.perf_counter()
        # The canonical image of a finished clip stays until the new clip is finished too.
        self._preview = None if (folder / META).exists() else folder / CANONICAL

    def show(self, progress: Progress) -> None:
        """Write a preview of the canonical image, at most every `PREVIEW_EVERY` seconds."""
        now = time.perf_counter()
        if self._preview and progress.canonical is not None and now - self._shown >= PREVIEW_EVERY:
            self._shown = now
            write_image(self._preview, to_uint8(progress.canonical))

    def save(self, clip: Video) -> None:
        """Save the finished clip and delete the states."""
        with keeping_damaged(self._folder):
            clip.save(self._folder)
        self.states.remove()
