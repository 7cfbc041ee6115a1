"""Long clips: overlapping segments, each with a canonical image of its own, one fading into the next."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from gendef.canonical_video import CanonicalVideo
from gendef.composite import CompositeVideo, Layer
from gendef.errors import InputError
from gendef.fitting.fit import fit_scene
from gendef.fitting.measure import psnr, ssim
from gendef.fitting.refine import Moment, Options, Quality, Watcher
from gendef.fitting.source import Footage, Scene, read_footage, to_tensor
from gendef.fitting.state import StateFile
from gendef.media.optical_flow import FlowMethod

SEGMENT = 120
"""Frames that one canonical image holds at most, if nothing else is said."""
TOLD = ("frames", "psnr", "camera", "reference_frame")
"""What the report says about each segment."""
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
    residual: bool = False,
) -> list[CanonicalVideo | CompositeVideo]:
    """As `gendef.fitting.fit_scenes`, but scenes of more than `segment` frames become several segments each.

    Raises:
        InputError: also if a segment is shorter than two overlaps.
    """
    options = Options(quality, seed, budget, residual)
    footage = read_footage(source, size, start, frames)
    total = sum(len(scene.frames) for scene in footage.scenes)
    clips: list[CanonicalVideo | CompositeVideo] = []
    for scene in footage.scenes:
        share = options if budget is None else replace(options, budget=budget * len(scene.frames) / total)
        if len(scene.frames) <= segment:
            clips.append(fit_scene(scene, footage, share, str(source), flow, watcher))
        else:
            clips.append(fit_segments(scene, footage, share, str(source), segment, flow, watcher))
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
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    state_file: Callable[[int], StateFile] | None = None,
) -> CompositeVideo:
    """Fit one scene in segments.

    Args:
        name: of the source, for the clip's info.
        longest: frames of a segment, at most.
        flow, watcher: see `gendef.fit_video`.
        state_file: number of a segment -> where to continue from, and where to save what is reached.

    Returns:
        The clip; its layers are the segments, all of one name. `report` holds an entry `segments`.

    Raises:
        InputError: segments would be too short.
    """
    began, parts = time.perf_counter(), split(len(scene.frames), longest)
    layers, reports = [], []
    for number, part in enumerate(parts):

        def inner(moment: Moment, number: int = number) -> None:
            text = f"segment {number + 1} of {len(parts)}, {moment.stage}"
            watcher(Moment(text, 0.99 * (number + moment.done) / len(parts), moment.psnr, moment.canonical))

        mine = options
        if options.budget is not None:
            left = max(options.budget - (time.perf_counter() - began), 1.0)
            mine = replace(options, budget=left / (len(parts) - number))
        state = state_file(number) if state_file else None
        clip = fit_scene(_part(scene, part), footage, mine, name, flow, inner, state, keep_state=True)
        layers.append(Layer(clip, _fading(clip) if number else None, part.start))
        reports.append({"frames": clip.info["frames"], **clip.report})
    result = CompositeVideo(layers, footage.fps)
    result.info = {
        "kind": "fit",
        "source": Path(name).name,
        "frames": [scene.numbers[0], scene.numbers[-1]],
        **asdict(options),
    }
    _measure(result, scene)
    result.report |= {
        "folded": _mean(reports, "folded"),
        "seen": _mean(reports, "seen"),
        "reference_difference": _mean(reports, "reference_difference"),
        "seconds": time.perf_counter() - began,
        "sweeps": sum(report["sweeps"] for report in reports),
        "blank_frames": [scene.numbers[t] for t in scene.blank],
        "notes": footage.notes,
        "segments": [{key: report[key] for key in TOLD} for report in reports],
    }
    watcher(Moment("done", 1.0, result.report["psnr"], layers[0].video.canonical))
    return result


def _mean(reports: list[dict], name: str) -> float:
    return sum(report[name] for report in reports) / len(reports)


def _part(scene: Scene, frames: range) -> Scene:
    """Some frames of a scene."""
    blank = [t - frames.start for t in scene.blank if t in frames]
    cut = slice(frames.start, frames.stop)
    return Scene(scene.frames[cut], scene.numbers[cut], [] if len(blank) == len(frames) else blank)


def _fading(clip: CanonicalVideo) -> Tensor:
    """Alpha of a segment that fades in over the one before it, (n, H, W) uint8."""
    alpha = torch.full((clip.num_frames, *clip.size), 255, dtype=torch.uint8)
    for t in range(OVERLAP):
        alpha[t] = round(255 * (t + 1) / (OVERLAP + 1))
    return alpha


def _measure(video: CompositeVideo, scene: Scene) -> None:
    """Set report and visibility."""
    visible = torch.zeros(video.num_frames, *video.size, dtype=torch.bool)
    quality, similarity = _compared(video, scene)
    for t in range(video.num_frames):
        layer = video.layers[int(video.owners(t)[0, 0])]
        if layer.video.visibility is not None:
            visible[t] = layer.video.visibility[t - layer.start]
    video.visibility = visible
    video.report = {
        "psnr": float(quality.mean()),
        "psnr_min": float(quality.min()),
        "explained": float(visible.float().mean()),
    }
    if len(similarity):
        video.report["ssim"] = float(similarity.mean())
    if video.layers[0].video.residual is not None:
        quality, similarity = _compared(video.without_residual(), scene)
        video.report["psnr_without_residual"] = float(quality.mean())
        if len(similarity):
            video.report["ssim_without_residual"] = float(similarity.mean())


def _compared(video: CompositeVideo, scene: Scene) -> tuple[Tensor, Tensor]:
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
