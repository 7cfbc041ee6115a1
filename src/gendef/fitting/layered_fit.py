"""Fitting one scene in layers."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.layer_fit import FittedLayer, fit_all_layers
from gendef.fitting.motion_segmentation import NoMovingObjects, segment_moving_objects
from gendef.fitting.options import FitOptions
from gendef.fitting.progress import Progress, ProgressCallback, no_progress
from gendef.fitting.report import (
    clip_info,
    colours_match,
    local_majority,
    nearest_used,
    without_illumination,
)
from gendef.fitting.schedule import FLOW_SHARE, Clock
from gendef.geometry import folded_share
from gendef.media.footage import Footage, Scene, to_tensor
from gendef.metrics.image_quality import SSIM_WINDOW, psnr, ssim
from gendef.optical_flow.dis import FlowMethod, dis_flow
from gendef.optical_flow.pairwise_flow import all_flows
from gendef.runtime.parallel import workers
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layer import Layer
from gendef.video.layered_video import LayeredVideo


def fit_layers(
    scene: Scene,
    footage: Footage,
    options: FitOptions,
    name: str,
    labels: Tensor | None,
    flow: FlowMethod | None = None,
    on_progress: ProgressCallback = no_progress,
    states: Callable[[int], StateFile] | None = None,
    needed: bool = True,
) -> LayeredVideo:
    """Fit one scene in layers.

    Args:
        options: of which quality, seed, budget and illumination are used.
        name: of the source, for the clip's info.
        labels: (T, H, W) uint8, 0 the background; see `gendef.fitting.masks`. Each label that occurs is a layer named
            after it, such as `object 2`. None: independently moving objects are detected, see
            `gendef.fitting.motion_segmentation`.
        flow, on_progress: see `gendef.fit_video`.
        states: number of a layer -> its state file.
        needed: whether a scene without moving objects is an error; otherwise the background is the only layer, and the
            report warns.

    Returns:
        The clip, the background at the back; `report` is as that of `gendef.fit_video`, with an entry `layers`.

    Raises:
        InputError: the labels do not have the frames' number and size, or nothing moves independently.
    """
    check_labels(labels, scene)
    clock = Clock(time.perf_counter(), options.budget)
    used = [t for t in range(len(scene.frames)) if t not in scene.blank]
    frames = to_tensor([scene.frames[t] for t in used])
    method = flow or dis_flow()
    pictures = [scene.frames[t] for t in used]
    flows = all_flows(pictures, method, lambda share: on_progress(Progress("optical flow", FLOW_SHARE * share)))
    with workers() as pool:
        if labels is None:
            on_progress(Progress("detecting moving objects", FLOW_SHARE))
            try:
                mine = segment_moving_objects(pictures, flows[0], options.seed)
            except NoMovingObjects:
                if needed:
                    raise
                mine = torch.zeros(len(frames), *frames.shape[2:], dtype=torch.uint8)
        else:
            mine = labels[used]
        clock = Clock(clock.began - _spent(mine, states), options.budget)
        fitted = fit_all_layers(frames, flows, mine, method, options, clock, pool, on_progress, states)
    warnings = list(footage.notes)
    if len(fitted) == 1:
        first, last = scene.numbers[0], scene.numbers[-1]
        warnings.append(f"no object in front of the background in frames {first} to {last}: one canonical image there")
    on_progress(Progress("measuring", 0.99))
    layers = [_with_blank(one.layer, used, len(scene.frames)) for one in fitted]
    result = LayeredVideo(layers, footage.fps)
    result.info = clip_info(scene, options, name)
    _measure(result, fitted, scene, used)
    result.report |= {
        "seconds": clock.elapsed(),
        "sweeps": sum(one.sweeps for one in fitted),
        "reference_frame": scene.numbers[used[fitted[0].reference]],
        "camera": fitted[0].camera,
        "blank_frames": [scene.numbers[t] for t in scene.blank],
        "warnings": warnings,
    }
    on_progress(Progress("done", 1.0, result.report["psnr"], result.layers[0].video.canonical))
    return result


def _spent(labels: Tensor, states: Callable[[int], StateFile] | None) -> float:
    """Seconds that an interrupted fit of these labels has already taken."""
    if states is None:
        return 0.0
    found = [states(number).load() for number in range(len({0, *labels.unique().tolist()}))]
    return max((state.seconds for state in found if state), default=0.0)


def check_labels(labels: Tensor | None, scene: Scene) -> None:
    """Check that labels have the frames' number and size.

    Raises:
        InputError: they do not.
    """
    expected = (len(scene.frames), *scene.frames[0].shape[:2])
    if labels is not None and tuple(labels.shape) != expected:
        raise InputError(f"masks must be {expected} like the frames, got {tuple(labels.shape)}")


def _with_blank(layer: Layer, used: list[int], count: int) -> Layer:
    """The layer of the used frames as one of all frames: black ones take the field of the nearest used frame."""
    if len(used) == count:
        return layer
    nearest = nearest_used(used, count)
    frames = ((nearest >= layer.start) & (nearest < layer.end)).nonzero()[:, 0]
    inner = nearest[frames] - layer.start
    gains = None if layer.video.illumination is None else layer.video.illumination[inner]
    video = CanonicalVideo(layer.video.canonical, layer.video.deformation[inner], illumination=gains)
    alpha = None if layer.alpha is None else layer.alpha[inner]
    return Layer(video, alpha, int(frames[0]), layer.name)


def _measure(video: LayeredVideo, fitted: list[FittedLayer], scene: Scene, used: list[int]) -> None:
    """Set the report and the visibility of a layered video."""
    rendered, truth = video.render(), to_tensor(scene.frames)
    visible = torch.zeros(len(truth), *video.size, dtype=torch.bool)
    right = colours_match(rendered, truth)
    for number, t in enumerate(used):
        owner = video.owners(t)
        for k, one in enumerate(fitted):
            if one.layer.start <= number < one.layer.end:
                visible[t] |= (owner == k) & one.good[number - one.layer.start]
        visible[t] &= right[t]
    visible[used] = local_majority(visible[used])
    video.visibility = visible
    quality = psnr(rendered[used], truth[used])
    background, reference = video.layers[0], used[fitted[0].reference]
    seen_there = visible[reference] & (video.owners(reference) == 0)
    shown = background.video.without_illumination().render(frames=[reference - background.start])[0]
    difference = (shown - truth[reference]).abs().mean(dim=0)[seen_there]
    video.report = {
        "psnr": float(quality.mean()),
        "psnr_min": float(quality.min()),
        "folded": folded_share(background.video.deformation),
        "explained": float(visible[used].float().mean()),
        "reference_difference": float(difference.mean()) * 127.5 if difference.numel() else 0.0,
        "seen": fitted[0].seen,
        "layers": [
            {
                "name": one.layer.name,
                "camera": one.camera,
                "seen": one.seen,
                "reference_frame": scene.numbers[used[one.reference]],
                "explained": float(_share(video, visible, number)),
            }
            for number, one in enumerate(fitted)
        ],
    }
    if min(video.size) >= SSIM_WINDOW:
        video.report["ssim"] = float(ssim(rendered[used], truth[used]).mean())
    if background.video.illumination is not None:
        video.report |= without_illumination(video.without_illumination().render()[used], truth[used])


def _share(video: LayeredVideo, visible: Tensor, number: int) -> float:
    """Share of a layer's shown pixels that it explains."""
    mine = torch.stack([video.owners(t) == number for t in range(video.num_frames)])
    return float(visible[mine].float().mean()) if mine.any() else 0.0
