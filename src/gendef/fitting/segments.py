"""Long clips: overlapping segments, each with canonical images of its own, one fading into the next."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.fit import fit_scene, following, scene_options
from gendef.fitting.layered_fit import Layers, check_labels, fit_layers
from gendef.fitting.masks import layer_masks
from gendef.fitting.schedule import Moment, Options, Quality, Watcher
from gendef.media.footage import Footage, Scene, read_footage, to_tensor
from gendef.metrics.image_quality import psnr, ssim
from gendef.optical_flow.dis import FlowMethod
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_format import MAX_LAYERS
from gendef.video.layered_video import SHOWN, Layer, LayeredVideo

SEGMENT = 120
"""Frames that one canonical image holds at most, if nothing else is said."""
TOLD = ("psnr", "camera", "reference_frame", "layers")
"""What the report says about each segment; the last if it is in layers."""
SAME_THING = 0.5
"""Share of the smaller of two masks, in the frames that two segments have in common, which both must have to be of one
thing."""
OVERLAP = 8
"""Frames that a segment has in common with the next."""


def fit_long(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    segment: int = SEGMENT,
    illumination: bool = False,
    *,
    masks: str | Path | None = None,
    layers: Layers = "one",
) -> list[CanonicalVideo | LayeredVideo]:
    """As `gendef.fitting.fit_scenes`, but scenes of more than `segment` frames become several segments each.

    Args:
        masks, layers: see `gendef.fit_video`; a scene without masks is fitted as `layers` says.

    Raises:
        InputError: also if a segment is shorter than two overlaps, or the masks cannot be used.
    """
    options = Options(quality, seed, budget, illumination)
    footage = read_footage(source, size, start, frames)
    labels: list[Tensor | None] = [None] * len(footage.scenes)
    if masks:
        labels = layer_masks(masks, footage, following(watcher))
    clips: list[CanonicalVideo | LayeredVideo] = []
    for scene, mine, share in zip(footage.scenes, labels, scene_options(footage, options), strict=True):
        if len(scene.frames) > segment:
            clips.append(fit_segments(scene, footage, share, str(source), segment, mine, layers, flow, watcher))
        elif mine is None and layers == "one":
            clips.append(fit_scene(scene, footage, share, str(source), flow, watcher))
        else:
            needed = len(footage.scenes) == 1
            clips.append(fit_layers(scene, footage, share, str(source), mine, flow, watcher, needed=needed))
    return clips


def split(count: int, longest: int) -> list[range]:
    """Frames of segments of nearly equal length, at most `longest`, each with `OVERLAP` frames of the one before.

    Raises:
        InputError: `longest` is too small.
    """
    if longest < 2 * OVERLAP:
        raise InputError(f"a segment must have at least {2 * OVERLAP} frames, got {longest}")
    if count <= longest:
        return [range(count)]
    parts = -(-(count - OVERLAP) // (longest - OVERLAP))
    bounds = [round(k * (count - OVERLAP) / parts) for k in range(parts + 1)]
    return [range(bounds[k], bounds[k + 1] + OVERLAP) for k in range(parts)]


def fit_segments(
    scene: Scene,
    footage: Footage,
    options: Options,
    name: str,
    longest: int,
    labels: Tensor | None = None,
    kind: Layers = "one",
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    state_file: Callable[[int], StateFile] | None = None,
) -> LayeredVideo:
    """Fit one scene in segments.

    Args:
        name: of the source, for the clip's info.
        longest: frames of a segment, at most.
        labels: of the scene's frames, (T, H, W) uint8, 0 the background: each segment is fitted in layers, those of its
            frames' labels; see `gendef.fitting.layered_fit.fit_layers`.
        kind: without labels, auto fits each segment in layers of what moves of itself in it.
        flow, watcher: see `gendef.fit_video`.
        state_file: number of a layer of the clip -> where to continue from, and where to save what is reached.

    Returns:
        The clip; its layers are those of the first segment, then those of the second, and so on. A label has the same
        name in every segment that shows it. `report` holds an entry `segments`, and in its `notes` are segments that
        have no layer but the background.

    Raises:
        InputError: segments would be too short, the labels are not of the frames' size, or there are too many layers.
    """
    parts = split(len(scene.frames), longest)
    check_labels(labels, scene)
    _check_count(len(parts), labels, kind)
    fresh = itertools.count(1)
    layers: list[Layer] = []
    clips: list[LayeredVideo] = []
    for number, part in enumerate(parts):

        def inner(moment: Moment, number: int = number) -> None:
            text = f"segment {number + 1} of {len(parts)}, {moment.stage}"
            watcher(Moment(text, 0.99 * (number + moment.done) / len(parts), moment.psnr, moment.canonical))

        mine = options
        if options.budget is not None:
            left = max(options.budget - sum(clip.report["seconds"] for clip in clips), 1.0)
            mine = replace(options, budget=left / (len(parts) - number))
        shown = None if labels is None else labels[part.start : part.stop]
        states = _from(len(layers), state_file)
        clip = _fit_part(_part(scene, part), footage, mine, name, shown, kind, flow, inner, states)
        if labels is None:  # labels name their layers, what was found by itself has no name yet
            apart = part.start - parts[number - 1].start if number else 0
            clip = _named(clip, clips[-1] if clips else None, apart, fresh)
        layers.extend(_placed(clip, part.start))
        clips.append(clip)
    result = LayeredVideo(layers, footage.fps)
    result.info = {
        "kind": "fit",
        "source": Path(name).name,
        "frames": [scene.numbers[0], scene.numbers[-1]],
        **asdict(options),
    }
    _measure(result, scene, clips, parts)
    reports = [clip.report for clip in clips]
    result.report |= {
        "folded": _mean(reports, "folded"),
        "seen": _mean(reports, "seen"),
        "reference_difference": _mean(reports, "reference_difference"),
        "seconds": sum(report["seconds"] for report in reports),
        "sweeps": sum(report["sweeps"] for report in reports),
        "blank_frames": [scene.numbers[t] for t in scene.blank],
        "notes": list(dict.fromkeys(note for report in reports for note in report["notes"])),
        "segments": [
            {"frames": clip.info["frames"], **{key: clip.report[key] for key in TOLD if key in clip.report}}
            for clip in clips
        ],
    }
    watcher(Moment("done", 1.0, result.report["psnr"], layers[0].video.canonical))
    return result


def _fit_part(
    scene: Scene,
    footage: Footage,
    options: Options,
    name: str,
    labels: Tensor | None,
    kind: Layers,
    flow: FlowMethod | None,
    watcher: Watcher,
    states: Callable[[int], StateFile] | None,
) -> LayeredVideo:
    """Fit one segment; arguments as for `fit_segments`, `states` by the number of a layer of the segment."""
    if labels is None and kind == "one":
        state = states(0) if states else None
        one = fit_scene(scene, footage, options, name, flow, watcher, state, keep_state=True)
        return LayeredVideo([Layer(one)], info=one.info, report=one.report, visibility=one.visibility)
    return fit_layers(scene, footage, options, name, labels, flow, watcher, states, needed=False)


def _from(first: int, state_file: Callable[[int], StateFile] | None) -> Callable[[int], StateFile] | None:
    """The same, with numbers from `first` on."""
    return (lambda number: state_file(first + number)) if state_file else None


def _check_count(segments: int, labels: Tensor | None, kind: Layers) -> None:
    """Refuse more layers than a clip can hold.

    Raises:
        InputError: so it is.
    """
    each = len({0, *labels.unique().tolist()}) if labels is not None else 1 if kind == "one" else 2
    if segments * each > MAX_LAYERS:
        raise InputError(
            f"{segments} segments of {each} layers are more than the {MAX_LAYERS} layers of a clip: "
            "take longer segments, fewer labels, or fewer frames"
        )


def _named(clip: LayeredVideo, before: LayeredVideo | None, apart: int, fresh: Iterator[int]) -> LayeredVideo:
    """A segment's things named after the same things of the segment before, or else anew.

    Each segment sees for itself what moves, and what moves in one need not be what moves in the next.

    Args:
        before: the segment before, which begins `apart` frames earlier.
        fresh: numbers for things that were not there.
    """
    layers, report = [clip.layers[0]], dict(clip.report)
    for layer in clip.layers[1:]:
        mine = torch.stack([layer.opacity(t) >= SHOWN for t in range(OVERLAP)])
        same = None
        for other in before.layers[1:] if before else []:
            theirs = torch.stack([other.opacity(apart + t) >= SHOWN for t in range(OVERLAP)])
            smaller = min(int(mine.sum()), int(theirs.sum()))
            if smaller and int((mine & theirs).sum()) > SAME_THING * smaller:
                same = other.name
        layers.append(replace(layer, name=same or f"object {next(fresh)}"))
    if "layers" in report:
        report["layers"] = [
            {**entry, "name": layer.name} for entry, layer in zip(report["layers"], layers, strict=True)
        ]
    return LayeredVideo(layers, clip.fps, info=clip.info, report=report, visibility=clip.visibility)


def _mean(reports: list[dict], name: str) -> float:
    return sum(report[name] for report in reports) / len(reports)


def _part(scene: Scene, frames: range) -> Scene:
    """Some frames of a scene."""
    blank = [t - frames.start for t in scene.blank if t in frames]
    cut = slice(frames.start, frames.stop)
    return Scene(scene.frames[cut], scene.numbers[cut], [] if len(blank) == len(frames) else blank)


def _placed(clip: LayeredVideo, start: int) -> list[Layer]:
    """The layers of a segment that begins at a frame of the whole clip; all but the first fade in over the one before.

    In the frames that both have, a layer has the weight of the fade where it is the one that shows in its segment, and
    none elsewhere. So the background leaves out the things before it: it does not come between a thing and the same
    thing of the segment before, which would be seen through. What is seen is the mean of both segments'
    pictures in these weights, also where their masks differ; and whole frames pass to the later one at once.
    """
    placed = []
    for number, layer in enumerate(clip.layers):
        alpha = layer.alpha
        if start:
            size = (layer.video.num_frames, *clip.size)
            alpha = torch.full(size, 255, dtype=torch.uint8) if alpha is None else alpha.clone()
            for t in range(layer.start, min(layer.end, OVERLAP)):
                weight = round(255 * (t + 1) / (OVERLAP + 1))
                alpha[t - layer.start] = weight * (clip.owners(t) == number)
        placed.append(replace(layer, alpha=alpha, start=start + layer.start))
    return placed


def _measure(video: LayeredVideo, scene: Scene, clips: Sequence[LayeredVideo], parts: Sequence[range]) -> None:
    """Set report and visibility of the segments `clips`, at frames `parts`, as one video."""
    visible = torch.zeros(video.num_frames, *video.size, dtype=torch.bool)
    quality, similarity = _compared(video, scene)
    segment = [number for number, clip in enumerate(clips) for _ in clip.layers]
    for t in range(video.num_frames):
        number = segment[int(video.owners(t)[0, 0])]  # all of a frame is of one segment, see `_placed`
        seen = clips[number].visibility
        if seen is not None:
            visible[t] = seen[t - parts[number].start]
    video.visibility = visible
    video.report = {
        "psnr": float(quality.mean()),
        "psnr_min": float(quality.min()),
        "explained": float(visible.float().mean()),
    }
    if len(similarity):
        video.report["ssim"] = float(similarity.mean())
    if video.layers[0].video.illumination is not None:
        quality, similarity = _compared(video.without_illumination(), scene)
        video.report["psnr_without_illumination"] = float(quality.mean())
        if len(similarity):
            video.report["ssim_without_illumination"] = float(similarity.mean())


def _compared(video: LayeredVideo, scene: Scene) -> tuple[Tensor, Tensor]:
    """PSNR and SSIM of the frames that are not blank; none of the latter where frames are too small for it.

    Frames are rendered in chunks, for they are many.
    """
    quality, similarity, first = [], [torch.zeros(0)], 0
    for chunk in video.iter_frames():
        truth = to_tensor(scene.frames[first : first + len(chunk)])
        used = [t for t in range(len(chunk)) if first + t not in scene.blank]
        quality.append(psnr(chunk[used], truth[used]))
        if min(video.size) > 11:
            similarity.append(ssim(chunk[used], truth[used]))
        first += len(chunk)
    return torch.cat(quality), torch.cat(similarity)
