"""Blender: a Python script that makes a movie clip's tracks, and one that makes compositing nodes.

Blender's marker coordinates are fractions of the frame, (0, 0) its bottom left corner.
"""

import json

from torch import Tensor

SCRIPT = '''"""Run in Blender's text editor: makes motion tracking markers on the clip {clip!r}."""

import bpy

TRACKS = {tracks}
clip = bpy.data.movieclips.get({clip!r}) or bpy.data.movieclips.load(bpy.path.abspath("//" + {clip!r}))
for name, markers in TRACKS.items():
    track = clip.tracking.tracks.new(name=name, frame=markers[0][0])
    for frame, x, y, visible in markers:
        marker = track.markers.insert_frame(frame, co=(x, y))
        marker.mute = not visible
'''


def tracking_script(positions: Tensor, visible: Tensor, size: tuple[int, int], clip: str, first: int = 1) -> str:
    """A script that adds one tracking track for every point.

    Args:
        positions: (N, T, 2), x then y in pixels of frames of `size` (height, width), y downwards.
        visible: (N, T) bool; markers of hidden points are muted.
        clip: file name of the movie clip, beside the .blend file.
        first: Blender's number of the first frame.
    """
    height, width = size
    tracks = {}
    for number, (track, seen) in enumerate(zip(positions.tolist(), visible.tolist(), strict=True), 1):
        tracks[f"gendef {number:03d}"] = [
            [first + t, round((x + 0.5) / width, 7), round(1 - (y + 0.5) / height, 7), bool(seen[t])]
            for t, (x, y) in enumerate(track)
        ]
    text = json.dumps(tracks).replace("true", "True").replace("false", "False")
    return SCRIPT.format(clip=clip, tracks=text)
