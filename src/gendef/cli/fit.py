"""`gendef fit`: a canonical image and a deformation field for a real video."""

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.progress import Progress
from torch import Tensor

from gendef.canonical_video import CanonicalVideo
from gendef.cli.progress import progress_bar
from gendef.clip_format import CANONICAL, META
from gendef.composite import CompositeVideo
from gendef.composite_format import layer_name
from gendef.errors import InputError
from gendef.fitting.composite_fit import Layers, fit_layers
from gendef.fitting.fit import Moment, Options, Quality, fit_scene, following, scene_options
from gendef.fitting.long import SEGMENT, fit_segments
from gendef.fitting.masks import layer_masks
from gendef.fitting.source import Footage, Scene, read_footage
from gendef.fitting.state import StateFile
from gendef.media.drawing import write_image
from gendef.media.video import to_uint8

STATE = ".fit-state.safetensors"
LAYER_STATE = ".fit-state-{}.safetensors"
PREVIEW_EVERY = 5.0
"""Seconds between two previews, at least."""
DESCRIPTION = (
    "Fit a canonical image and a deformation field to a real video, so that it can be edited, tracked and segmented "
    "through one image.\n\n"
    "While it runs, canonical.png in the clip folder shows how far it is. A fit that was stopped goes on when the same "
    "command is given again. A video with cuts gives a clip folder for every scene, a long one several segments in one "
    "clip folder.\n\n"
    "example: gendef fit my.mp4 --out clip\n\n"
    "example: gendef fit my.mp4 --out clip --start 100 --frames 60 --budget 60s\n\n"
    "example: gendef fit frames_folder --out clip --size 480 --quality best\n\n"
    "example: gendef fit my.mp4 --layers auto --out clip\n\n"
    "example: gendef fit my.mp4 --masks mask_of_first_frame.png --out clip\n\n"
    "example: gendef fit sunset.mp4 --residual --out clip\n\n"
    "example: gendef fit clouds.mp4 --model sky --out clouds"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    video: Annotated[Path, tyro.conf.Positional]
    """Video file, animated gif, or folder of frames."""
    out: Path = field(default=Path("clip"))
    """Clip folder to write."""
    size: int = 270
    """Pixels of the shorter side that are fitted; smaller videos keep theirs."""
    start: int = 0
    """First frame."""
    frames: int | None = None
    """Number of frames; default all."""
    quality: Quality = "default"
    """How long to refine."""
    budget: str | None = None
    """Time to spend, such as 60s or 5m, whatever the quality; the result then depends on the machine."""
    seed: int = 0
    """The same seed gives the same result, if there is no budget."""
    model: str | None = None
    """Find the clip in this model instead (built-in, folder, or hub repository), and tune a copy of it to the clip."""
    masks: Path | None = None
    """Folder of masks, one a frame, such as gendef segment writes; or a picture, the mask of the first frame.
    Each label becomes a layer of its own."""
    layers: Layers = "one"
    """auto gives what moves of itself, before the background, a layer of its own."""
    residual: bool = False
    """Find the light of each frame too, kept apart from the canonical image: for clips that get brighter or darker."""
    segment: int = SEGMENT
    """Frames that one canonical image holds at most; longer clips become overlapping segments, each with its layers."""
    json: bool = False
    """Print the report as JSON."""


def parse_seconds(text: str) -> float:
    """Seconds from 90, 90s, 1.5m or 1h.

    Raises:
        InputError: not of that form, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([smh]?)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise InputError(f"a budget must look like 60s, 5m or 1h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def main(argv: list[str]) -> int | None:
    """Run the command."""
    arguments = tyro.cli(Arguments, args=argv, prog="gendef fit", description=DESCRIPTION)
    budget = None if arguments.budget is None else parse_seconds(arguments.budget)
    if arguments.model is not None:
        from gendef.cli.fit_model import fit_model

        return fit_model(arguments, arguments.model, budget)
    options = Options(arguments.quality, arguments.seed, budget, arguments.residual)
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
    """What to say about the residual."""
    return f"; {report['psnr_without_residual']:.2f} without the residual" if "psnr_without_residual" in report else ""


def _fit(
    scene: Scene,
    footage: Footage,
    options: Options,
    arguments: Arguments,
    labels: Tensor | None,
    folder: Path,
    progress: Progress,
) -> CanonicalVideo | CompositeVideo:
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
