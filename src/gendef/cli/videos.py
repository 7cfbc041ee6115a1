"""Videos that have not been fitted, for commands that take a clip folder or a video."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendef.errors import InputError
from gendef.media.footage import Footage, Scene, read_footage
from gendef.video.clip_format import CANONICAL, META


def is_clip(path: Path) -> bool:
    """Whether a folder holds a clip; otherwise it is a video file or a folder of frames.

    Raises:
        InputError: the path does not exist, or holds a clip whose fit has not ended.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: name a clip folder, a video file or a folder of frames")
    if (path / META).exists():
        return True
    if (path / CANONICAL).exists():
        raise InputError(f"{path} holds no finished clip: run the same gendef fit again to finish it")
    return False


def refuse(arguments: Any, names: Iterable[str], what: str) -> None:
    """Refuse options that are not for what was given.

    Args:
        arguments: of the command; its `clip` is what was given.
        names: of the options.
        what: they are for, and what was given.

    Raises:
        InputError: one of them was given.
    """
    for name in names:
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name} is for {what.format(clip=arguments.clip)}")


NOT_FOR_CLIPS = "videos, and {clip} is a clip folder, whose size is its own"
NOT_FOR_VIDEOS = "clips with layers, and {clip} is a video"


@dataclass(frozen=True)
class Start:
    """A video, and the frame in it from which points or masks are tracked.

    Attributes:
        footage: what was read.
        scene: the scene that holds the frame.
        number: of the frame in the video.
        place: of the frame in the scene.
        numbers: of all frames that were read.
        notes: messages for the user.
    """

    footage: Footage
    scene: Scene
    number: int
    place: int
    numbers: list[int]
    notes: list[str]

    @property
    def frames(self) -> list[np.ndarray]:
        """All frames that were read, uint8 (H, W, 3)."""
        return [frame for scene in self.footage.scenes for frame in scene.frames]


def read_start(path: Path, size: int, start: int | None, frames: int | None, frame: int | None, what: str) -> Start:
    """Read a video, and find the frame from which points or masks are tracked.

    Args:
        size, start, frames: see `read_footage`.
        frame: its number; default the first one read.
        what: subject of the notes with its verb, such as "the points are".

    Raises:
        DataError, InputError: see `read_footage`; or the frame is not among those that were read.
    """
    footage = read_footage(path, size, start or 0, frames)
    numbers = [number for scene in footage.scenes for number in scene.numbers]
    given = numbers[0] if frame is None else frame
    if given not in numbers:
        raise InputError(f"there is no frame {given}: frames {numbers[0]} to {numbers[-1]} were read")
    scene = next(scene for scene in footage.scenes if given in scene.numbers)
    notes = list(footage.notes)
    if len(footage.scenes) > 1:
        notes.append(f"{what} followed in one scene only, frames {scene.numbers[0]} to {scene.numbers[-1]}")
    return Start(footage, scene, given, scene.numbers.index(given), numbers, notes)
