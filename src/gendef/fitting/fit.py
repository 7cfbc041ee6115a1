"""Fitting real videos: a clip becomes a canonical image and a deformation field (in the line of CoDeF, 2308.07926)."""

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.camera import find_camera, still_camera
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.illumination import Light
from gendef.fitting.initial_field import chained
from gendef.fitting.layered_fit import Layers, fit_layers
from gendef.fitting.masks import layer_masks
from gendef.fitting.refinement import Clip
from gendef.fitting.report import (
    agreeing,
    measured,
    unsqueezed,
)
from gendef.fitting.schedule import FLOW_SHARE, Clock, Moment, Options, Quality, Watcher, refined
from gendef.media.footage import Footage, Scene, read_footage, to_tensor
from gendef.optical_flow.dis import FlowMethod, dis_flow
from gendef.optical_flow.pairwise_flow import all_flows
from gendef.runtime.parallel import Workers, workers
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import LayeredVideo

SAME = 2
"""Levels of 255 by which frames may differ, at most, to count as one still picture."""


@overload
def fit_video(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    *,
    illumination: bool = False,
) -> CanonicalVideo: ...


@overload
def fit_video(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    *,
    masks: str | Path | None = None,
    layers: Literal["auto"],
    illumination: bool = False,
) -> LayeredVideo: ...


@overload
def fit_video(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    *,
    masks: str | Path,
    layers: Layers = "one",
    illumination: bool = False,
) -> LayeredVideo: ...


def fit_video(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    *,
    masks: str | Path | None = None,
    layers: Layers = "one",
    illumination: bool = False,
) -> CanonicalVideo | LayeredVideo:
    """Fit a canonical image and a deformation field to a real video.

    Args:
        source: a video file, an animated gif, a folder of frames, or a zip of one clip.
        size: pixels of the shorter side of the frames that are fitted; smaller videos keep theirs.
        start: first frame.
        frames: how many; default all.
        quality: fast, default or best.
        seed: the same seed gives the same result (without a budget).
        budget: seconds; refines as long as they last, whatever the quality.
        flow: optical flow between two frames, instead of OpenCV's DIS; see `gendef.optical_flow.dis.FlowMethod`.
        watcher: called after every step of work.
        masks: folder of masks or labels, one for each frame, or a picture with those of the first frame (see
            `gendef.fitting.masks.layer_masks`); each label becomes a layer before the background.
        layers: auto finds what moves of itself (see `gendef.fitting.motion_segmentation`) where there are no masks.
        illumination: find the light of each frame too, a coarse gain that is kept apart from the canonical image; see
            `gendef.fitting.illumination`.

    Returns:
        The clip; `report` holds psnr (mean, dB), psnr_min, ssim, seconds, seen (share of canonical pixels that any
        frame shows), folded and more; `visibility` (T, H, W) bool says where the canonical image explains the frames.
        With an illumination, `psnr_without_illumination` and `ssim_without_illumination` are those without it.
        If the video has cuts, its longest scene; see `fit_scenes`. With masks or layers a
        `LayeredVideo`.

    Raises:
        DataError: the source cannot be read.
        InputError: an impossible option, or masks that cannot be used.
        MissingDependencyError: OpenCV is not installed, or for one mask the weights of the features.
    """
    options = Options(quality, seed, budget, illumination)
    footage = read_footage(source, size, start, frames)
    number = max(range(len(footage.scenes)), key=lambda number: len(footage.scenes[number].frames))
    longest = footage.scenes[number]
    if len(footage.scenes) > 1:
        warnings.warn(
            f"{source} has {len(footage.scenes)} scenes; the longest, frames {longest.numbers[0]} to "
            f"{longest.numbers[-1]}, is fitted (gendef.fitting.fit_scenes fits them all)",
            stacklevel=2,
        )
    labels = None
    if masks:
        labels = layer_masks(masks, footage, following(watcher))[number]
        if labels is None:
            first, last = longest.numbers[0], longest.numbers[-1]
            raise InputError(f"{masks} holds no mask for frames {first} to {last}, the longest scene")
    if labels is None and layers == "one":
        return fit_scene(longest, footage, options, str(source), flow, watcher)
    return fit_layers(longest, footage, options, str(source), labels, flow, watcher)


def following(watcher: Watcher) -> Callable[[int], None]:
    """What tells a watcher how many frames a mask has been carried through; for `gendef.fitting.masks.layer_masks`."""
    return lambda done: watcher(Moment(f"following the mask, {done} frame{'s' if done > 1 else ''}", 0.0))


def fit_scenes(
    source: str | Path,
    size: int = 270,
    start: int = 0,
    frames: int | None = None,
    quality: Quality = "default",
    seed: int = 0,
    budget: float | None = None,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    illumination: bool = False,
) -> list[CanonicalVideo]:
    """As `fit_video`, with one clip for every scene of the video; a budget is for all of them."""
    options = Options(quality, seed, budget, illumination)
    footage = read_footage(source, size, start, frames)
    shares = scene_options(footage, options)
    return [
        fit_scene(scene, footage, share, str(source), flow, watcher)
        for scene, share in zip(footage.scenes, shares, strict=True)
    ]


def scene_options(footage: Footage, options: Options) -> list[Options]:
    """The options for each scene: a budget is split by their lengths."""
    if options.budget is None:
        return [options] * len(footage.scenes)
    lengths = [len(scene.frames) for scene in footage.scenes]
    return [replace(options, budget=options.budget * n / sum(lengths)) for n in lengths]


def fit_scene(
    scene: Scene,
    footage: Footage,
    options: Options,
    name: str,
    flow: FlowMethod | None = None,
    watcher: Watcher = lambda moment: None,
    state_file: StateFile | None = None,
    keep_state: bool = False,
) -> CanonicalVideo:
    """Fit one scene; see `fit_video`.

    Args:
        name: of the source, for the clip's info.
        state_file: where to continue from, and where to save what is reached now and then.
        keep_state: save it at the end too, for the clip is one of several and the others may still be interrupted.
    """
    began = time.perf_counter()
    used = [t for t in range(len(scene.frames)) if t not in scene.blank]
    frames = to_tensor([scene.frames[t] for t in used])
    state = state_file.load() if state_file else None
    clock = Clock(began - (state.seconds if state else 0.0), options.budget)
    light = Light(frames) if options.illumination else None
    if _is_still(frames):
        size = (frames.shape[2], frames.shape[3])
        camera = still_camera(len(frames), *size, len(frames) // 2)
        canonical, field, seen, sweeps = frames.mean(dim=0), torch.zeros(len(frames), *size, 2), 1.0, 0
        agrees = None
    else:
        with workers() as pool:
            clip = _prepared(scene, used, frames, options, flow, pool, watcher)
            fitted, sweeps = refined(clip, options, clock, pool, watcher, state, state_file, keep_state, light)
        camera, field, canonical = clip.camera, fitted.field(), fitted.canonical.clamp(-1, 1)
        seen = float((fitted.mass > 0.25).float().mean())
        agrees = agreeing(field, fitted.canvas, clip.flows)
        if light:
            light.finish(CanonicalVideo(canonical, field).render(), frames, agrees & unsqueezed(field, fitted.canvas))
    watcher(Moment("measuring", 0.99))
    illumination = None if light is None else _with_blank(light.illumination, used, len(scene.frames))
    result = CanonicalVideo(
        canonical, _with_blank(field, used, len(scene.frames)), footage.fps, illumination=illumination
    )
    truth = to_tensor(scene.frames)
    reference = used[camera.reference]
    report, result.visibility = measured(result, truth, used, reference, agrees)
    result.report = {
        **report,
        "seen": seen,
        "seconds": clock.elapsed(),
        "sweeps": sweeps,
        "reference_frame": scene.numbers[reference],
        "camera": camera.kind,
        "blank_frames": [scene.numbers[t] for t in scene.blank],
        "notes": list(footage.notes),
    }
    result.info = {
        "kind": "fit",
        "source": Path(name).name,
        "frames": [scene.numbers[0], scene.numbers[-1]],
        **asdict(options),
    }
    watcher(Moment("done", 1.0, report["psnr"], result.canonical))
    return result


def _is_still(frames: Tensor) -> bool:
    """Whether all frames show the same picture, but for noise."""
    return float((frames - frames[:1]).abs().amax()) * 127.5 <= SAME


def _prepared(
    scene: Scene,
    used: list[int],
    frames: Tensor,
    options: Options,
    method: FlowMethod | None,
    pool: Workers,
    watcher: Watcher,
) -> Clip:
    """The clip with its flows, its camera and where fields begin."""
    pictures = [scene.frames[t] for t in used]
    flows = all_flows(pictures, method or dis_flow(), lambda share: watcher(Moment("optical flow", FLOW_SHARE * share)))
    camera = find_camera(flows[0].forward, flows[0].backward, options.seed, flows[0].backward_trust)
    watcher(Moment("first field", FLOW_SHARE))
    return Clip(frames, camera, flows[0], chained(frames, camera, flows, pool))


def _with_blank(values: Tensor, used: list[int], count: int) -> Tensor:
    """Field or illumination of all frames, (T, ...), with those of the nearest used frames in place of black ones."""
    if len(used) == count:
        return values
    places = torch.tensor(used)
    nearest = (torch.arange(count)[:, None] - places[None]).abs().argmin(dim=1)
    return values[nearest]
