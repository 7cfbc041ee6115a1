"""`gendef sample`: generate videos."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gendef.cli.progress import progress_bar
from gendef.cli.sample_arguments import Arguments, parse
from gendef.cli.values import parse_seeds
from gendef.errors import InputError, ModelError
from gendef.media.images import to_uint8, write_image
from gendef.media.video_writer import write_video
from gendef.model.baseline import BaselineModel, BaselineVideo, load_model
from gendef.model.gendef import GenDeF
from gendef.runtime.devices import choose_device
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.clip_format import PREVIEW
from gendef.visualization.drawing import (
    contact_sheet,
    field_pictures,
    flow_colours,
    spread_frames,
)

SHEET_FRAMES = 8


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command."""
    if arguments.slow_motion <= 0:
        raise InputError(f"--slow-motion must be positive, got {arguments.slow_motion}")
    if arguments.frames < 1:
        raise InputError(f"--frames must be at least 1, got {arguments.frames}")
    if arguments.fps is not None and not arguments.fps > 0:
        raise InputError(f"--fps must be positive, got {arguments.fps}")
    seeds = parse_seeds(arguments.seeds)
    if not 0 <= arguments.truncation <= 2:
        raise InputError(f"--truncation must be between 0 and 2, got {arguments.truncation}")
    model = load_model(arguments.model, device=choose_device(arguments.device), precision=arguments.precision)
    if arguments.compile:
        if isinstance(model, BaselineModel):
            raise InputError(f"--compile: {arguments.model} outputs frames directly and has no field: leave it out")
        model.compile()
    fps = arguments.fps or model.fps
    arguments.out.mkdir(parents=True, exist_ok=True)
    times = torch.arange(arguments.frames) / arguments.slow_motion
    shared: dict[str, Any] = {
        "truncation": arguments.truncation,
        "content_seed": arguments.content_seed,
        "motion_seed": arguments.motion_seed,
        "label": arguments.label,
    }
    written, rows = [], []
    with progress_bar() as progress:
        task = progress.add_task("generating", total=len(seeds) * arguments.frames)
        for seed in seeds:
            folder = arguments.out / f"seed{seed:04d}"
            if isinstance(model, BaselineModel):
                video = model.sample(seed, times=times, **shared)
                written.append({**_baseline_files(video, folder, arguments, fps), **video.info})
                rows.append([*to_uint8(video.frames[spread_frames(arguments.frames, SHEET_FRAMES)])])
                progress.advance(task, arguments.frames)
                continue
            plan = model.plan(seed, times=times, **shared)
            for count in plan.write(folder, fps):
                progress.advance(task, count)
            written.append({"clip": str(folder), **_files_beside(folder, arguments), **plan.info})
            rows.append(_sheet_row(CanonicalVideo.load(folder)))
        sheet = arguments.out / "sheet.png"
        write_image(sheet, contact_sheet(rows))
        if arguments.grid:
            _write_grid(model, seeds, arguments, fps)
    if arguments.json:
        print(json.dumps({"clips": written, "sheet": str(sheet)}))
    else:
        print(f"{len(seeds)} clips in {arguments.out}; look at {sheet} and {written[0]['mp4']}")
    return 0


def _baseline_files(video: BaselineVideo, path: Path, arguments: Arguments, fps: float) -> dict[str, str]:
    """Write the mp4 of a video without a field, and the other requested files."""
    if arguments.draw:
        raise ModelError(f"{arguments.model} outputs frames directly and has no field: leave --draw out")
    video.fps = fps
    mp4 = path.with_suffix(".mp4")
    video.to_mp4(mp4, enlarge=True)
    if arguments.gif:
        video.to_gif(path.with_suffix(".gif"))
    if arguments.frame_files:
        for number, frame in enumerate(to_uint8(video.frames)):
            write_image(path.parent / f"{path.name}_frames" / f"{number:06d}.png", frame)
    return {"mp4": str(mp4)}


def _files_beside(folder: Path, arguments: Arguments) -> dict[str, str]:
    """Write the mp4 beside the clip folder, and the other requested files."""
    mp4 = folder.with_suffix(".mp4")
    shutil.copyfile(folder / PREVIEW, mp4)
    files = {"mp4": str(mp4)}
    if arguments.gif or arguments.frame_files or arguments.draw:
        clip = CanonicalVideo.load(folder)
        if arguments.gif:
            clip.to_gif(folder.with_suffix(".gif"))
        if arguments.frame_files:
            frames = (frame for chunk in clip.iter_frames() for frame in to_uint8(chunk))
            for number, frame in enumerate(frames):
                write_image(folder.parent / f"{folder.name}_frames" / f"{number:06d}.png", frame)
        if arguments.draw:
            files |= _draw(clip, folder)
    return files


def _draw(clip: CanonicalVideo, folder: Path) -> dict[str, str]:
    """Videos of the field and of the flow in the usual colours, each on one scale for the whole clip."""
    files = {"deformation": str(folder.parent / f"{folder.name}_deformation.mp4")}
    write_video(Path(files["deformation"]), field_pictures(clip.deformation), clip.fps)
    if clip.num_frames > 1:
        files["flow"] = str(folder.parent / f"{folder.name}_flow.mp4")
        # Differences of a field in time are fields, drawn alike.
        write_video(Path(files["flow"]), field_pictures(clip.deformation.diff(dim=0)), clip.fps)
    return files


def _sheet_row(clip: CanonicalVideo) -> list[np.ndarray]:
    """Canonical image, field of the last frame, and frames spread over the clip."""
    half = np.array([clip.size[1] / 2, clip.size[0] / 2], np.float32)
    still = CanonicalVideo(clip.canonical, torch.zeros(1, *clip.size, 2)).render()
    frames = clip.render(frames=spread_frames(clip.num_frames, SHEET_FRAMES))
    return [to_uint8(still)[0], flow_colours(clip.deformation[-1].numpy() * half), *to_uint8(frames)]


def _write_grid(model: GenDeF | BaselineModel, seeds: list[int], arguments: Arguments, fps: float) -> None:
    """The content x motion table as one video."""
    times = torch.arange(arguments.frames) / arguments.slow_motion
    table = []
    for content in seeds:
        row = []
        for motion in seeds:
            clip = model.sample(content_seed=content, motion_seed=motion, times=times, truncation=arguments.truncation)
            row.append(to_uint8(clip.render()))
        table.append(row)
    sheets = (contact_sheet([[clip[t] for clip in row] for row in table]) for t in range(arguments.frames))
    write_video(arguments.out / "grid.mp4", sheets, fps)
