"""Fitting real videos: a clip becomes a canonical image and a deformation field (in the line of CoDeF, 2308.07926).

`fit_scenes` is the one way to a fit: `gendef.fit_video`, the command `gendef fit` and the app call it.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.checkpoint import StateFolder, fit_job
from gendef.fitting.layered_fit import fit_layers
from gendef.fitting.masks import layer_masks
from gendef.fitting.options import SEGMENT, FitOptions, Layers, Quality
from gendef.fitting.output import ClipOutput, clip_folder
from gendef.fitting.progress import Progress, ProgressCallback, no_progress
from gendef.fitting.segments import fit_segments
from gendef.fitting.single_fit import fit_single
from gendef.media.footage import Footage, Scene, read_footage
from gendef.media.frame_times import varying_times
from gendef.media.source_frames import describe_source
from gendef.optical_flow.dis import FlowMethod
from gendef.video.base import Video


def fit_video(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    *,
    flow: FlowMethod | None = None,
    on_progress: ProgressCallback = no_progress,
    illumination: bool = False,
    masks: str | Path | None = None,
    layers: Layers = "one",
    segment: int = SEGMENT,
    fps: float | None = None,
    stream: int | None = None,
) -> Video:
    """Fit a canonical image and a deformation field to a real video.

    Args:
        source: a video file, an animated gif, a folder of frames, or a zip of one clip.
        size: pixels of the shorter side of the fitted frames; smaller videos keep their size.
        start: first frame.
        frames: number of frames; default all.
        quality: fast, default or best.
        seed: the same seed gives the same result (without a budget).
        budget: seconds; the fit refines until they are spent, whatever the quality.
        flow: optical flow between two frames, instead of OpenCV's DIS; see `gendef.optical_flow.dis.FlowMethod`.
        on_progress: called after every step of work.
        illumination: estimate the illumination of every frame too, a coarse gain that is kept apart from the canonical
            image; see `gendef.fitting.illumination`.
        masks: folder of masks or labels, one for each frame, or a picture with those of the first frame (see
            `gendef.fitting.masks.layer_masks`); each label becomes a layer in front of the background.
        layers: auto gives independently moving objects a layer where there are no masks (see
            `gendef.fitting.motion_segmentation`).
        segment: a longer scene is split into overlapping segments of at most this many frames.
        fps: frames a second, instead of the source's.
        stream: which video stream of a file; default the film.

    Returns:
        A `CanonicalVideo` if one canonical image holds the clip; a `LayeredVideo` with masks, with layers, and for
        more than `segment` frames. If the video has cuts, its longest scene; `fit_scenes` gives all of them.

        `report` holds psnr (mean, dB), psnr_min, ssim, seconds, seen (share of canonical pixels that any frame shows),
        folded, warnings (a list of sentences) and more; `visibility` (T, H, W) bool says where the clip
        explains the frames. With illumination, `psnr_without_illumination` and `ssim_without_illumination` are those
        of the frames without it.

    Raises:
        DataError: the source cannot be read.
        InputError: an option is out of its range, or the masks cannot be used.
        MissingDependencyError: OpenCV is not installed, or for one mask the weights of the features.
    """
    options = FitOptions(size, start, frames, quality, seed, budget, illumination, masks, layers, segment, fps, stream)
    (clip,) = fit_scenes(source, options, flow=flow, on_progress=on_progress, scenes="longest")
    return clip


def fit_scenes(
    source: str | Path,
    options: FitOptions | None = None,
    *,
    flow: FlowMethod | None = None,
    on_progress: ProgressCallback = no_progress,
    scenes: Literal["all", "longest"] = "all",
    out: str | Path | None = None,
) -> list[Video]:
    """Fit the scenes of a video, one clip each.

    Args:
        source: as for `fit_video`.
        options: default `FitOptions()`. A budget is split among the scenes by their lengths.
        flow: optical flow between two frames; default OpenCV's DIS.
        on_progress: called after every step of work.
        scenes: all, or only the longest.
        out: clip folder, or folder of the clip folders `scene00`, `scene01`, ... of several scenes. Every clip is
            saved as soon as it is finished; until then `canonical.png` there is a preview, and the state of the fit is
            saved regularly: a fit that was interrupted continues if it is started again with the same arguments.

    Raises:
        DataError, InputError, MissingDependencyError: as `fit_video`; also InputError if `out` holds other files.
    """
    source, options = Path(source), options or FitOptions()
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out} is a file, not a folder")
    footage = read_footage(source, options.size, options.start, options.frames, fps=options.fps, stream=options.stream)
    labels = _labels(footage, options, on_progress)
    if scenes == "longest":
        footage, labels = _longest(footage, labels, options, source)
    elif options.masks is not None:
        footage.notes.extend(_without_masks(footage, labels, options))
    count, total = len(footage.scenes), sum(len(scene.frames) for scene in footage.scenes)
    parts = list(zip(footage.scenes, _shares(footage, options), labels, strict=True))
    outputs = [
        None if out is None else ClipOutput(clip_folder(out, number, count), fit_job(source, *part))
        for number, part in enumerate(parts)
    ]
    clips: list[Video] = []
    before = 0
    for number, ((scene, share, mine), output) in enumerate(zip(parts, outputs, strict=True)):
        weight = len(scene.frames) / total

        def inner(
            progress: Progress,
            number: int = number,
            before: float = before / total,
            weight: float = weight,
            output: ClipOutput | None = output,
        ) -> None:
            done = before + weight * progress.done
            on_progress(replace(progress, done=done, scene=number, scenes=count))
            if output:
                output.show(progress)

        clip = _fit_scene(scene, footage, share, source.name, mine, flow, inner, output.states if output else None)
        clip.info["footage"] = describe_source(source, scene.numbers, options.stream)
        times = varying_times(scene.times, footage.fps)
        if times is not None:
            clip.info["frame_times"] = times
        if output:
            clip.report["warnings"].extend(output.states.warnings)
            output.save(clip)
        clips.append(clip)
        before += len(scene.frames)
    return clips


def _fit_scene(
    scene: Scene,
    footage: Footage,
    options: FitOptions,
    name: str,
    labels: Tensor | None,
    flow: FlowMethod | None,
    on_progress: ProgressCallback,
    states: StateFolder | None,
) -> Video:
    """Fit one scene in segments, in layers, or with one canonical image."""
    if len(scene.frames) > options.segment:
        return fit_segments(scene, footage, options, name, labels, flow, on_progress, states)
    if labels is None and options.layers == "one":
        return fit_single(scene, footage, options, name, flow, on_progress, states(0) if states else None)
    # Of several scenes, one may well be without moving objects: that is no error then.
    needed = len(footage.scenes) == 1
    return fit_layers(scene, footage, options, name, labels, flow, on_progress, states, needed=needed)


def _labels(footage: Footage, options: FitOptions, on_progress: ProgressCallback) -> list[Tensor | None]:
    """Labels of each scene's frames; None where there are no masks."""
    if options.masks is None:
        return [None] * len(footage.scenes)

    def on_frame(done: int) -> None:
        on_progress(Progress(f"following the mask, {done} frame{'s' if done > 1 else ''}", 0.0))

    return layer_masks(options.masks, footage, on_frame)


def _longest(
    footage: Footage, labels: list[Tensor | None], options: FitOptions, source: Path
) -> tuple[Footage, list[Tensor | None]]:
    """The longest scene alone, with its labels.

    Raises:
        InputError: there are masks, but none of them is in that scene.
    """
    count = len(footage.scenes)
    number = max(range(count), key=lambda number: len(footage.scenes[number].frames))
    scene = footage.scenes[number]
    first, last = scene.numbers[0], scene.numbers[-1]
    if options.masks is not None and labels[number] is None:
        raise InputError(f"{options.masks} holds no mask for frames {first} to {last}, the longest scene")
    notes = list(footage.notes)
    if count > 1:
        notes.append(f"only the longest of {count} scenes was fitted, frames {first} to {last}")
        warnings.warn(f"{source}: {notes[-1]} (gendef.fitting.fit_scenes fits all of them)", stacklevel=4)
    return replace(footage, scenes=[scene], notes=notes), [labels[number]]


def _without_masks(footage: Footage, labels: list[Tensor | None], options: FitOptions) -> list[str]:
    """A warning for every scene in which there are no masks."""
    instead = "one canonical image" if options.layers == "one" else "moving objects were detected"
    return [
        f"no masks in frames {scene.numbers[0]} to {scene.numbers[-1]}: {instead}"
        for scene, mine in zip(footage.scenes, labels, strict=True)
        if mine is None
    ]


def _shares(footage: Footage, options: FitOptions) -> list[FitOptions]:
    """The options of each scene: a budget is split by their lengths."""
    if options.budget is None:
        return [options] * len(footage.scenes)
    lengths = [len(scene.frames) for scene in footage.scenes]
    return [replace(options, budget=options.budget * n / sum(lengths)) for n in lengths]
