"""Fitting a long scene in overlapping segments, each with canonical images of its own, which fade into each other."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.layered_fit import check_labels, fit_layers
from gendef.fitting.options import OVERLAP, FitOptions
from gendef.fitting.progress import Progress, ProgressCallback, no_progress
from gendef.fitting.report import clip_info
from gendef.fitting.segment_joining import measure_segments, placed_layers, with_names
from gendef.fitting.single_fit import fit_single
from gendef.media.footage import Footage, Scene
from gendef.optical_flow.dis import FlowMethod
from gendef.video.layer import Layer
from gendef.video.layered_format import MAX_LAYERS
from gendef.video.layered_video import LayeredVideo

REPORTED = ("psnr", "camera", "reference_frame", "layers")
"""Entries of each segment's report that the report of the whole clip repeats; `layers` is there for segments in
layers."""


def split(frames: int, longest: int) -> list[range]:
    """Frames of segments of nearly equal length, at most `longest`, each sharing `OVERLAP` frames with the one before.

    Raises:
        InputError: `longest` is less than two overlaps.
    """
    if longest < 2 * OVERLAP:
        raise InputError(f"a segment must have at least {2 * OVERLAP} frames, got {longest}")
    if frames <= longest:
        return [range(frames)]
    parts = -(-(frames - OVERLAP) // (longest - OVERLAP))
    bounds = [round(k * (frames - OVERLAP) / parts) for k in range(parts + 1)]
    return [range(bounds[k], bounds[k + 1] + OVERLAP) for k in range(parts)]


def fit_segments(
    scene: Scene,
    footage: Footage,
    options: FitOptions,
    name: str,
    labels: Tensor | None = None,
    flow: FlowMethod | None = None,
    on_progress: ProgressCallback = no_progress,
    states: Callable[[int], StateFile] | None = None,
) -> LayeredVideo:
    """Fit one scene in segments.

    Args:
        options: `segment` is the largest number of frames of a segment; `layers` says whether segments without labels
            are fitted in layers. A budget is split among the segments.
        name: of the source, for the clip's info.
        labels: of the scene's frames, (T, H, W) uint8, 0 the background: each segment is fitted in layers, those of its
            frames' labels; see `gendef.fitting.layered_fit.fit_layers`.
        flow, on_progress: see `gendef.fit_video`.
        states: number of a layer of the clip -> its state file.

    Returns:
        The clip; its layers are those of the first segment, then those of the second, and so on. A label has the same
        name in every segment that shows it. `report` holds an entry `segments`, and its `warnings` name segments
        that have no layer but the background.

    Raises:
        InputError: segments would be too short, the labels do not have the frames' size, or there are too many layers.
    """
    parts = split(len(scene.frames), options.segment)
    check_labels(labels, scene)
    _check_count(len(parts), labels, options)
    new_numbers = count(1)
    layers: list[Layer] = []
    clips: list[LayeredVideo] = []
    for number, part in enumerate(parts):

        def inner(progress: Progress, number: int = number) -> None:
            stage = f"segment {number + 1} of {len(parts)}, {progress.stage}"
            done = 0.99 * (number + progress.done) / len(parts)
            on_progress(Progress(stage, done, progress.psnr, progress.canonical))

        mine = options
        if options.budget is not None:
            left = max(options.budget - sum(clip.report["seconds"] for clip in clips), 1.0)
            mine = replace(options, budget=left / (len(parts) - number))
        part_labels = None if labels is None else labels[part.start : part.stop]
        part_states = _shifted(states, len(layers))
        clip = _fit_part(_part(scene, part), footage, mine, name, part_labels, flow, inner, part_states)
        if labels is None:  # detected objects have no names yet; labels name their layers
            apart = part.start - parts[number - 1].start if number else 0
            clip = with_names(clip, clips[-1] if clips else None, apart, new_numbers)
        layers.extend(placed_layers(clip, part.start))
        clips.append(clip)
    result = LayeredVideo(layers, footage.fps)
    result.info = clip_info(scene, options, name)
    measure_segments(result, scene, clips, parts)
    reports = [clip.report for clip in clips]
    result.report |= {
        "folded": _mean(reports, "folded"),
        "seen": _mean(reports, "seen"),
        "reference_difference": _mean(reports, "reference_difference"),
        "seconds": sum(report["seconds"] for report in reports),
        "sweeps": sum(report["sweeps"] for report in reports),
        "blank_frames": [scene.numbers[t] for t in scene.blank],
        "warnings": list(dict.fromkeys(text for report in reports for text in report["warnings"])),
        "segments": [
            {"frames": clip.info["frames"], **{key: clip.report[key] for key in REPORTED if key in clip.report}}
            for clip in clips
        ],
    }
    on_progress(Progress("done", 1.0, result.report["psnr"], layers[0].video.canonical))
    return result


def _fit_part(
    scene: Scene,
    footage: Footage,
    options: FitOptions,
    name: str,
    labels: Tensor | None,
    flow: FlowMethod | None,
    on_progress: ProgressCallback,
    states: Callable[[int], StateFile] | None,
) -> LayeredVideo:
    """Fit one segment; arguments as for `fit_segments`, `states` by the number of a layer of the segment."""
    if labels is None and options.layers == "one":
        state = states(0) if states else None
        one = fit_single(scene, footage, options, name, flow, on_progress, state, keep_state=True)
        return LayeredVideo([Layer(one)], info=one.info, report=one.report, visibility=one.visibility)
    return fit_layers(scene, footage, options, name, labels, flow, on_progress, states, needed=False)


def _shifted(states: Callable[[int], StateFile] | None, first: int) -> Callable[[int], StateFile] | None:
    """The same state files, with layer `first` as number 0."""
    return (lambda number: states(first + number)) if states else None


def _check_count(segments: int, labels: Tensor | None, options: FitOptions) -> None:
    """Check that a clip can hold all layers.

    Raises:
        InputError: it cannot.
    """
    one = 1 if options.layers == "one" else 2
    each = len({0, *labels.unique().tolist()}) if labels is not None else one
    if segments * each > MAX_LAYERS:
        raise InputError(
            f"{segments} segments of {each} layers are more than the {MAX_LAYERS} layers of a clip: "
            "take longer segments, fewer labels, or fewer frames"
        )


def _mean(reports: list[dict], name: str) -> float:
    return sum(report[name] for report in reports) / len(reports)


def _part(scene: Scene, frames: range) -> Scene:
    """Some frames of a scene."""
    blank = [t - frames.start for t in scene.blank if t in frames]
    cut = slice(frames.start, frames.stop)
    return Scene(scene.frames[cut], scene.numbers[cut], [] if len(blank) == len(frames) else blank)
