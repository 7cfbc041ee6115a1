"""Nuke scripts (.nk): a clip as Read and STMap nodes, tracks as Tracker4 and CornerPin2D."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gendef.errors import InputError


@dataclass(frozen=True)
class ScriptClip:
    """What a script says of a clip.

    Attributes:
        width, height: of the frames.
        canonical_width, canonical_height: of the canonical image.
        first, last: frame numbers.
        fps: frames a second.
    """

    width: int
    height: int
    canonical_width: int
    canonical_height: int
    first: int
    last: int
    fps: float


def clip_script(clip: ScriptClip, canonical: str, stmap: str, inverse: str) -> str:
    """A script that paints on the canonical image and shows it in every frame.

    The canonical image goes through a RotoPaint node and the STMap; the inverse STMap brings a frame to the canonical
    plane. `canonical`, `stmap` and `inverse` are file names beside the script, with %04d for the frame number.
    """
    # Nuke's nodes take their inputs from a stack, input 0 from its top: an STMap's picture comes after its map.
    beside = "[file dirname [value root.name]]"
    size = f"{clip.width} {clip.height} 0 0 {clip.width} {clip.height} 1 gendef_frames"
    canvas = f"{clip.canonical_width} {clip.canonical_height} 0 0 {clip.canonical_width} {clip.canonical_height} 1"
    span = f"first {clip.first}\n last {clip.last}\n origfirst {clip.first}\n origlast {clip.last}"
    return f"""#! nuke
Root {{
 inputs 0
 first_frame {clip.first}
 last_frame {clip.last}
 fps {clip.fps:g}
 format "{size}"
}}
Read {{
 inputs 0
 file "{beside}/{stmap}"
 {span}
 raw true
 name STMapOfFrames
 xpos 160
 ypos 90
}}
Read {{
 inputs 0
 file "{beside}/{canonical}"
 format "{canvas} gendef_canonical"
 name CanonicalImage
 xpos 0
 ypos 0
}}
RotoPaint {{
 name PaintHere
 xpos 0
 ypos 90
}}
STMap {{
 inputs 2
 channels rgba
 uv rgb
 filter cubic
 name Frames
 xpos 0
 ypos 180
}}
Write {{
 file "{beside}/frames.%04d.exr"
 file_type exr
 name WriteFrames
 xpos 0
 ypos 270
}}
Read {{
 inputs 0
 file "{beside}/{inverse}"
 {span}
 raw true
 name STMapToCanonical
 xpos 320
 ypos 90
}}
"""


def tracker_script(positions: Tensor, visible: Tensor, height: int, first: int) -> str:
    """Tracks as CornerPin-ready curves: one Tracker4 node with a track for every point.

    Args:
        positions: (N, T, 2), x then y in pixels of frames `height` pixels high, y downwards.
        visible: (N, T) bool; frames in which a point is hidden have no key.
        first: number of the first frame.
    """
    rows = []
    for number, (track, seen) in enumerate(zip(positions.tolist(), visible.tolist(), strict=True)):
        x, y = _curves(track, seen, height, first)
        rows.append(
            f' {{ {{curve K x{first} 1}} "track {number + 1}" {x} {y} '
            "{0} {0} 1 0 0 {0} 1 0 -32 -32 32 32 -22 -22 22 22 {} {} {} {} {} {} {} {} {} {} {} }"
        )
    columns = (
        "{ 5 1 20 enable e 1 } { 3 1 75 name name 1 } { 2 1 58 track_x track_x 1 } { 2 1 58 track_y track_y 1 } "
        "{ 2 1 63 offset_x offset_x 1 } { 2 1 63 offset_y offset_y 1 } { 4 1 27 T T 1 } { 4 1 27 R R 1 } "
        "{ 4 1 27 S S 1 } { 2 0 45 error error 1 } { 1 1 0 error_min error_min 1 } { 1 1 0 error_max error_max 1 } "
        "{ 1 1 0 pattern_x pattern_x 1 } { 1 1 0 pattern_y pattern_y 1 } { 1 1 0 pattern_r pattern_r 1 } "
        "{ 1 1 0 pattern_t pattern_t 1 } { 1 1 0 search_x search_x 1 } { 1 1 0 search_y search_y 1 } "
        "{ 1 1 0 search_r search_r 1 } { 1 1 0 search_t search_t 1 } { 2 1 0 key_track key_track 1 } "
        "{ 2 1 0 key_search_x key_search_x 1 } { 2 1 0 key_search_y key_search_y 1 } "
        "{ 2 1 0 key_search_r key_search_r 1 } { 2 1 0 key_search_t key_search_t 1 } "
        "{ 2 1 0 key_track_x key_track_x 1 } { 2 1 0 key_track_y key_track_y 1 } "
        "{ 2 1 0 key_track_r key_track_r 1 } { 2 1 0 key_track_t key_track_t 1 } "
        "{ 2 1 0 key_centre_offset_x key_centre_offset_x 1 } { 2 1 0 key_centre_offset_y key_centre_offset_y 1 }"
    )
    header = f"{{ 1 31 {len(rows)} }}\n{{ {columns} }}\n{{\n"
    return "Tracker4 {\n inputs 0\n tracks { " + header + "\n".join(rows) + "\n}\n}\n name GendefTracks\n}\n"


def corner_pin_script(positions: Tensor, height: int, first: int, reference: int) -> str:
    """Four tracked corners as a CornerPin2D node that moves what lay inside them in the reference frame.

    Args:
        positions: (4, T, 2), the corners in order around the plane, in pixels, y downwards.
        reference: index (into T) of the frame in which the picture to insert was drawn.

    Raises:
        InputError: there are not four corners.
    """
    if positions.shape[0] != 4:
        raise InputError(f"a corner pin needs 4 points, got {positions.shape[0]}")
    lines = ["CornerPin2D {", " inputs 1"]
    for number, track in enumerate(positions.tolist(), 1):
        x, y = _curves(track, [True] * len(track), height, first)
        lines.append(f" to{number} {{{x} {y}}}")
    for number, track in enumerate(positions.tolist(), 1):
        left, up = _nuke_point(track[reference], height)
        lines.append(f" from{number} {{{left:.6f} {up:.6f}}}")
    return "\n".join([*lines, " name GendefCornerPin", "}", ""])


def _nuke_point(point: Sequence[float], height: int) -> tuple[float, float]:
    """Pixel coordinates in Nuke's frame: origin at the bottom left corner, pixel centres at halves."""
    return point[0] + 0.5, height - (point[1] + 0.5)


def _curves(track: Sequence[Sequence[float]], seen: Sequence[bool], height: int, first: int) -> tuple[str, str]:
    """Animation curves of x and y; only frames in which the point is seen have a key."""
    keys = [(first + t, *_nuke_point(point, height)) for t, point in enumerate(track) if seen[t]]
    x = " ".join(f"x{frame} {value:.6f}" for frame, value, _ in keys)
    y = " ".join(f"x{frame} {value:.6f}" for frame, _, value in keys)
    return f"{{curve {x}}}", f"{{curve {y}}}"
