"""`gendef fit`: a canonical image and a deformation field for a real video."""

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tyro
from rich.progress import Progress
from torch import Tensor

from gendef.cli.fit_arguments import DESCRIPTION, Arguments, parse_seconds
from gendef.cli.progress import progress_bar
from gendef.errors import InputError
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.fit import Moment, Options, fit_scene, following, scene_options
from gendef.fitting.layered_fit import fit_layers
from gendef.fitting.masks import layer_masks
from gendef.fitting.segments import fit_segments
from gendef.media.footage import Footage, Scene, read_footage
from gendef.media.images import to_uint8, write_image
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.clip_format import CANONICAL, META
from gendef.video.layered_format import layer_name
from gendef.video.layered_video import LayeredVideo

STATE = ".fit-state.safetensors"
LAYER_STATE = ".fit-state-{}.safetensors"
PREVIEW_EVERY = 5.0
"""Seconds between two previews, at least."""


def main(argv: list[str]) -> int | None:
    """Run the command."""
    arguments = tyro.cli(Arguments, args=argv, prog="gendef fit", description=DESCRIPTION)
    budget = None if arguments.budget is None else parse_seconds(arguments.budget)
    if arguments.model is not None:
        from gendef.cli.fit_model import fit_model

        return fit_model(arguments, arguments.model, budget)
    options = Options(arguments.quality, arguments.seed, budget, arguments.illumination)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"{arguments.out} is a file, not a folder")
    footage = read_footage(arguments.video, arguments.size, arguments.start, arguments.frames)
    scenes = footage.scenes
    folders = [arguments.out]
    if len(scenes) > 1:
        folders = [arguments.out / f"scene{number:02d}" for number in range(len(scenes))]
    reports = []
    with progress_bar() as progress:
        labels: list[Tensor | None] = [None] * len(scenes)
        if arguments.masks is not None:
            labels = layer_masks(arguments.masks, footage, following(_Preview(None, progress)))
            bare = [scene for scene, of_scene in zip(scenes, labels, strict=True) if of_scene is None]
            instead = "one image" if arguments.layers == "one" else "what moves of itself is a layer"
            footage.notes.extend(f"no masks in frames {one.numbers[0]} to {one.numbers[-1]}: {instead}" for one in bare)
        shares = scene_options(footage, options)
        for scene, folder, share, of_scene in zip(scenes, folders, shares, labels, strict=True):
            clip = _fit(scene, footage, share, arguments, of_scene, folder, progress)
            reports.append({"clip": str(folder), "frames": clip.info["frames"], **clip.report})
    notes = list(dict.fromkeys([*footage.notes, *(note for report in reports for note in report["notes"])]))
    if arguments.json:
        print(json.dumps({"clips": reports, "notes": notes}))
        return 0
    for note in notes:
        print(f"note: {note}")
    for report in reports:
        print(
            f"{report['clip']}: frames {report['frames'][0]} to {report['frames'][1]}, PSNR {report['psnr']:.2f} dB "
            f"(worst frame {report['psnr_min']:.2f}{_light(report)}), {100 * report['explained']:.1f} % of the pixels "
            f"explained, {100 * report['seen']:.0f} % of the canonical image seen, {report['seconds']:.0f} s"
        )
    picture = folders[0] / CANONICAL
    if not picture.exists():
        picture = folders[0] / layer_name(0) / CANONICAL
    print(f"look at {picture} and {folders[0] / 'preview.mp4'}")
    return 0


def _light(report: dict[str, Any]) -> str:
    """What to say about the illumination."""
    return (
        f"; {report['psnr_without_illumination']:.2f} without the illumination"
        if "psnr_without_illumination" in report
        else ""
    )


def _fit(
    scene: Scene,
    footage: Footage,
    options: Options,
    arguments: Arguments,
    labels: Tensor | None,
    folder: Path,
    progress: Progress,
) -> CanonicalVideo | LayeredVideo:
    """Fit one scene into its clip folder."""
    job: dict[str, Any] = {
        "source": str(arguments.video.resolve()),
        "changed": arguments.video.stat().st_mtime_ns,
        "frames": [scene.numbers[0], scene.numbers[-1], len(scene.numbers)],
        "size": scene.frames[0].shape[:2],
        **asdict(options),
    }
    show = _Preview(folder, progress)

    def state_of(part: int) -> StateFile:
        return StateFile(folder / LAYER_STATE.format(layer_name(part)), {**job, "part": part})

    if labels is not None:
        job["masks"] = hashlib.sha256(labels.numpy().tobytes()).hexdigest()
    elif arguments.layers != "one":
        job["layers"] = arguments.layers
    name = str(arguments.video)
    if len(scene.frames) > arguments.segment:
        job["segment"] = arguments.segment
        long = fit_segments(
            scene,
            footage,
            options,
            name,
            arguments.segment,
            labels,
            arguments.layers,
            watcher=show,
            state_file=state_of,
        )
        long.save(folder)  # in the place of the folder with the states
        return long
    if labels is None and arguments.layers == "one":
        state = StateFile(folder / STATE, job)
        clip = fit_scene(scene, footage, options, name, watcher=show, state_file=state)
        clip.save(folder)
        state.remove()
        return clip
    needed = len(footage.scenes) == 1  # of several scenes, one may well be still
    layered = fit_layers(scene, footage, options, name, labels, watcher=show, state_file=state_of, needed=needed)
    layered.save(folder)
    return layered


class _Preview:
    """Moves a progress bar, and keeps canonical.png up to date in a folder that holds no finished clip."""

    def __init__(self, folder: Path | None, progress: Progress) -> None:
        self._path = None if folder is None or (folder / META).exists() else folder / CANONICAL
        self._progress, self._shown = progress, time.perf_counter()
        self._task = progress.add_task("reading", total=1000)

    def __call__(self, moment: Moment) -> None:
        text = moment.stage if moment.psnr != moment.psnr else f"{moment.stage}, {moment.psnr:.2f} dB"
        self._progress.update(self._task, completed=round(1000 * moment.done), description=text)
        now = time.perf_counter()
        if self._path and moment.canonical is not None and now - self._shown >= PREVIEW_EVERY:
            self._shown = now
            write_image(self._path, to_uint8(moment.canonical))
