"""Tracks as files for Nuke, After Effects and Blender."""

from pathlib import Path
from typing import Literal

from torch import Tensor

from gendef.errors import InputError
from gendef.interchange.after_effects import corner_pin_keyframes, position_keyframes
from gendef.interchange.blender import tracking_script
from gendef.interchange.nuke import corner_pin_script, tracker_script

Target = Literal["nuke", "ae", "blender"]
TARGETS: tuple[Target, ...] = ("nuke", "ae", "blender")
CORNERS = 4
"""Points that are a corner pin too: top left, top right, bottom right, bottom left."""


def write_track_files(
    folder: Path, target: Target, positions: Tensor, visible: Tensor, size: tuple[int, int], fps: float, clip: str
) -> list[Path]:
    """Write tracks for one program into an existing folder.

    Nuke gets `tracks.nk`, After Effects `track001.txt` and so on, Blender `tracks_blender.py`. Four points (top left,
    top right, bottom right, bottom left) are a corner pin too, `corner_pin.nk` or `corner_pin.txt`, whose picture is
    drawn on the first frame.

    Args:
        positions: (N, T, 2), x then y in pixels of frames of `size` (height, width), y downwards.
        visible: (N, T) bool; hidden points have no key.
        clip: name of the clip in the program.

    Raises:
        InputError: another target.
    """
    if target not in TARGETS:
        raise InputError(f"--to must be one of {', '.join(TARGETS)}, got {target!r}")
    texts: dict[str, str] = {}
    if target == "nuke":
        texts["tracks.nk"] = tracker_script(positions, visible, size[0], 1)
        if len(positions) == CORNERS:
            texts["corner_pin.nk"] = corner_pin_script(positions, size[0], 1, 0)
    elif target == "ae":
        for number, (track, seen) in enumerate(zip(positions, visible, strict=True), 1):
            texts[f"track{number:03d}.txt"] = position_keyframes(track, seen, size, fps)
        if len(positions) == CORNERS:
            texts["corner_pin.txt"] = corner_pin_keyframes(positions, size, fps)
    else:
        texts["tracks_blender.py"] = tracking_script(positions, visible, size, clip)
    for name, text in texts.items():
        (folder / name).write_text(text, newline="")
    return [folder / name for name in texts]
