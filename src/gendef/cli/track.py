"""`gendef track`: track points in a clip, or in a video that has not been fitted."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gendef.cli.layers import chosen_layer
from gendef.cli.points import parse_points, read_points
from gendef.cli.progress import progress_bar
from gendef.cli.track_arguments import Arguments, parse
from gendef.cli.videos import NOT_FOR_CLIPS, NOT_FOR_VIDEOS, Start, is_clip, read_start, refuse
from gendef.correspondence.point_tracking import FollowedPoints, follow_points
from gendef.errors import InputError
from gendef.interchange.tracks import write_track_files
from gendef.video.layered_video import load_clip
from gendef.video.point_tracks import checked_points, grid_points
from gendef.visualization.track_files import write_tracks, write_tracks_of_frames

SIZE = 240
"""Shorter side in pixels at which a video is processed. Finer flow follows an animal's limbs less far."""


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    follow = _follow_in_clip if is_clip(arguments.clip) else _follow_in_video
    given = _given_points(arguments)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"{arguments.out} is a file, not a folder")
    report, visible, notes = follow(arguments, given)
    if arguments.json:
        print(json.dumps({**report, "visible": visible.tolist(), "out": str(arguments.out), "notes": notes}))
        return 0
    for note in notes:
        print(f"note: {note}")
    print(
        f"{visible.shape[0]} points in {visible.shape[1]} frames, visible {100 * visible.float().mean().item():.1f} % "
        f"of the time; look at {arguments.out / 'tracks.mp4'}"
    )
    return 0


Report = tuple[dict[str, Any], Tensor, list[str]]
"""What --json prints, where points are visible, (N, T), and notes."""


def _follow_in_clip(arguments: Arguments, given: list[Tensor]) -> Report:
    """Track points through a clip and write the results."""
    refuse(arguments, ("start", "frames", "size"), NOT_FOR_CLIPS)
    clip, frame = load_clip(arguments.clip), arguments.frame
    layer = chosen_layer(clip, arguments.layer, frame)
    if frame is not None and arguments.grid is not None:
        clip.checked_frame(frame)
    picture = clip.size if frame is not None else clip.layers[layer].canonical_size
    tracks = clip.track(_with_grid(given, arguments.grid, picture), frame, layer)
    with progress_bar() as progress:
        task = progress.add_task("drawing", total=clip.num_frames)
        write_tracks(clip, tracks, arguments.out, lambda: progress.advance(task))
    if arguments.to is not None:
        write_track_files(
            arguments.out, arguments.to, tracks.positions, tracks.visible, clip.size, clip.fps, arguments.clip.name
        )
    report = {
        "frame": frame,
        "canonical": tracks.canonical.tolist(),
        "positions": tracks.positions.tolist(),
        "residual": tracks.residual.tolist(),
        **({} if tracks.layer is None else {"layer": tracks.layer.tolist()}),
    }
    return report, tracks.visible, []


def _follow_in_video(arguments: Arguments, given: list[Tensor]) -> Report:
    """The same for a video, within the scene that holds the frame with the points."""
    refuse(arguments, ("layer",), NOT_FOR_VIDEOS)
    size = SIZE if arguments.size is None else arguments.size
    begin = read_start(arguments.clip, size, arguments.start, arguments.frames, arguments.frame, "the points are")
    if begin.place in begin.scene.blank:
        raise InputError(f"frame {begin.number} is black: points on it cannot be tracked")
    source_size = begin.footage.source_size
    points = checked_points(_with_grid(given, arguments.grid, source_size), source_size, f"frame {begin.number}")
    with progress_bar() as progress:
        task = progress.add_task("following", total=len(begin.scene.frames) - len(begin.scene.blank) - 1)
        tracks = _followed(begin, points, lambda: progress.advance(task))
        frames = begin.frames
        task = progress.add_task("drawing", total=len(frames))
        write_tracks_of_frames(
            frames,
            begin.footage.fps,
            tracks,
            source_size,
            arguments.out,
            begin.numbers,
            lambda: progress.advance(task),
        )
    if arguments.to is not None:
        fps, name = begin.footage.fps, arguments.clip.name
        write_track_files(arguments.out, arguments.to, tracks.positions, tracks.visible, source_size, fps, name)
    report = {
        "frame": begin.number,
        "frames": begin.numbers,
        "positions": tracks.positions.tolist(),
        "deviation": tracks.deviation.tolist(),
    }
    return report, tracks.visible, begin.notes


def _followed(begin: Start, points: Tensor, on_frame: Callable[[], None]) -> FollowedPoints:
    """Points (N, 2) of a frame, in pixels of its file, in all frames that were read, in the same pixels.

    In black frames and other scenes they are invisible and keep their position from the nearest processed frame.
    """
    scene, (height, width) = begin.scene, begin.scene.frames[0].shape[:2]
    scale = torch.tensor([width / begin.footage.source_size[1], height / begin.footage.source_size[0]])
    used = [t for t in range(len(scene.frames)) if t not in scene.blank]
    pictures = [scene.frames[t] for t in used]
    # A point on the edge must not get outside by rounding.
    smaller = ((points + 0.5) * scale - 0.5).minimum(torch.tensor([width, height]) - 0.5)
    tracks = follow_points(pictures, smaller, used.index(begin.place), on_frame=on_frame)
    place_of = {number: place for place, number in enumerate(begin.numbers)}
    looked_at = torch.tensor([place_of[scene.numbers[t]] for t in used])
    places = torch.arange(len(begin.numbers))
    nearest = torch.searchsorted((looked_at[1:] + looked_at[:-1]) / 2, places.float())
    seen = looked_at[nearest] == places
    return FollowedPoints(
        points,
        ((tracks.positions + 0.5) / scale - 0.5)[:, nearest],
        tracks.visible[:, nearest] & seen,
        (tracks.deviation / scale.prod().sqrt())[:, nearest],
    )


def _given_points(arguments: Arguments) -> list[Tensor]:
    """The points that were given one by one, each part (N, 2)."""
    parts: list[Tensor] = []
    if arguments.points:
        parts.append(torch.tensor(parse_points(arguments.points), dtype=torch.float64))
    if arguments.csv is not None:
        parts.append(torch.tensor(read_points(arguments.csv), dtype=torch.float64))
    if not parts and arguments.grid is None:
        raise InputError("no points were given: use --points x,y, --csv FILE or --grid N")
    return parts


def _with_grid(given: list[Tensor], count: int | None, picture: tuple[int, int]) -> Tensor:
    """All requested points, (N, 2), with a grid on an image of this height and width."""
    return torch.cat(given if count is None else [*given, grid_points(picture, count).double()])
