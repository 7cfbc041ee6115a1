"""State of one visitor: a clip, its edits, clicked points, and a private folder of files."""

import secrets
import shutil
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gendef.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from gendef.app.fit_job import FitJob
    from gendef.model.gendef import GenDeF
    from gendef.video.base import Video
    from gendef.video.point_tracks import Tracks
    from gendef.visualization.field_codec import EncodedLayer

MAX_VERSIONS = 30
"""Edits that can be undone."""
EMPTY = "there is no clip yet: generate one or bring your own video first"


@dataclass
class Session:
    """One visitor's state; Gradio keeps it on the server between events.

    Attributes:
        folder: holds the files made for this visitor.
        title: description of the clip for the page.
        file_of_original: mp4 of the unedited clip.
        versions: the unedited clip, and the clip after each edit.
        edited: the current clip, with unfinished strokes.
        points: valid clicked points, in pixels of the clicked image.
        target: what is tracked, and the frame of the points, None for the canonical image.
        sheet_laid: whether the painter shows this clip already.
        job: the fit that was started last.
        tracks: of the points, for downloads.
        masks: the object in all frames, and on the canonical image of each layer, for downloads.
    """

    folder: Path
    title: str = ""
    file_of_original: str = ""
    versions: list["Video"] = field(default_factory=list)
    edited: "Video | None" = None
    points: list[tuple[float, float]] = field(default_factory=list)
    target: tuple[str, int | None] | None = None
    sheet_laid: bool = False
    _field: "list[EncodedLayer] | None" = None
    job: "FitJob | None" = None
    tracks: "Tracks | None" = None
    masks: "tuple[Tensor, list[Tensor]] | None" = None

    def begin(self, video: "Video", title: str) -> None:
        """Start with a new clip; the state of the previous one is deleted."""
        self.versions, self.edited, self.title, self.sheet_laid, self._field = [video], video, title, False, None
        self.forget_clicks()

    def forget_clicks(self) -> None:
        """Delete points, boxes and the tracks and masks made from them."""
        self.points, self.target, self.tracks, self.masks = [], None, None, None

    @property
    def original(self) -> "Video":
        """The unedited clip.

        Raises:
            InputError: there is none.
        """
        if not self.versions:
            raise InputError(EMPTY)
        return self.versions[0]

    @property
    def current(self) -> "Video":
        """The current clip.

        Raises:
            InputError: there is none.
        """
        if self.edited is None:
            raise InputError(EMPTY)
        return self.edited

    def keep(self, video: "Video") -> None:
        """Make an edit the new state of the clip; it can be undone."""
        self.versions.append(video)
        if len(self.versions) > MAX_VERSIONS + 1:
            del self.versions[1]
        self.edited = video

    def finish(self) -> None:
        """Keep strokes that are still being drawn."""
        if self.current is not self.versions[-1]:
            self.keep(self.current)

    def encoded_field(self) -> "list[EncodedLayer]":
        """The clip's layers for pages; edits do not change their fields."""
        from gendef.visualization.field_codec import encodings

        if self._field is None:
            self._field = next(encodings(self.original))
        return self._field

    def undo(self) -> bool:
        """Drop unfinished strokes, or else the last edit; tells whether there was one."""
        if self.current is not self.versions[-1]:
            self.edited = self.versions[-1]
            return True
        if len(self.versions) > 1:
            self.versions.pop()
            self.edited = self.versions[-1]
            return True
        return False

    def file(self, name: str) -> Path:
        """A new path for a result called `name`; older results of that name are removed."""
        for old in self.folder.glob(f"*/{name}"):
            shutil.rmtree(old.parent, ignore_errors=True)
        fresh = self.folder / secrets.token_hex(8)
        fresh.mkdir(parents=True)
        return fresh / name


class AppState:
    """State shared by all visitors: the folder of their folders, and the models, loaded at first use.

    Args:
        root: an empty folder, for files of visitors.
        models: names that visitors may choose.
    """

    def __init__(self, root: Path, models: list[str]) -> None:
        self.root, self.models = root, models
        self._loaded: dict[str, GenDeF] = {}
        self._lock = threading.Lock()

    def session(self) -> Session:
        """A new visitor's state."""
        folder = self.root / "sessions" / secrets.token_hex(16)
        folder.mkdir(parents=True)
        session = Session(folder)
        # Visitors beyond the server's limit are dropped without notice.
        weakref.finalize(session, shutil.rmtree, folder, ignore_errors=True)
        return session

    def end(self, session: Session | None) -> None:
        """End a visitor's fit and remove their files."""
        if session is not None:
            if session.job is not None:
                session.job.cancel()
            shutil.rmtree(session.folder, ignore_errors=True)

    @contextmanager
    def model(self, name: str) -> Iterator["GenDeF"]:
        """A model, for one visitor at a time.

        Raises:
            InputError: not one of the offered models.
        """
        from gendef.model.gendef import GenDeF

        if name not in self.models:
            raise InputError(f"there is no model {name!r} here; one of: {', '.join(self.models)}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = GenDeF.from_pretrained(name)
            yield self._loaded[name]
