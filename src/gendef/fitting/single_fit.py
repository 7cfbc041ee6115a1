"""Fitting one scene with one canonical image."""

import time

import torch
from torch import Tensor

from gendef.fitting.camera import find_camera, still_camera
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.illumination import Illumination
from gendef.fitting.initial_field import initial_fields
from gendef.fitting.options import FitOptions
from gendef.fitting.progress import Progress, ProgressCallback, no_progress
from gendef.fitting.refinement import Clip
from gendef.fitting.report import SEEN, agrees_with_flow, clip_info, measure, nearest_used, preserves_area
from gendef.fitting.schedule import FLOW_SHARE, Clock, refine
from gendef.media.footage import Footage, Scene, to_tensor
from gendef.optical_flow.dis import FlowMethod, dis_flow
from gendef.optical_flow.pairwise_flow import all_flows
from gendef.runtime.parallel import Workers, workers
from gendef.video.canonical_video import CanonicalVideo

SAME = 2
"""Largest difference between frames, in levels of 255, at which a video counts as a still picture. Decoders differ by
one level."""


def fit_single(
    scene: Scene,
    footage: Footage,
    options: FitOptions,
    name: str,
    flow: FlowMethod | None = None,
    on_progress: ProgressCallback = no_progress,
    state_file: StateFile | None = None,
    keep_state: bool = False,
) -> CanonicalVideo:
    """Fit one scene with one canonical image; see `gendef.fit_video`.

    Args:
        options: of which quality, seed, budget and illumination are used.
        name: of the source, for the clip's info.
        state_file: from which to continue, and where to save the state regularly.
        keep_state: save it at the end too: the clip is one of several, and the others may still be interrupted.
    """
    began = time.perf_counter()
    used = [t for t in range(len(scene.frames)) if t not in scene.blank]
    frames = to_tensor([scene.frames[t] for t in used])
    state = state_file.load() if state_file else None
    clock = Clock(began - (state.seconds if state else 0.0), options.budget)
    illumination = Illumination(frames) if options.illumination else None
    if _is_still(frames):
        size = (frames.shape[2], frames.shape[3])
        camera = still_camera(len(frames), *size, len(frames) // 2)
        canonical, field, seen, sweeps = frames.mean(dim=0), torch.zeros(len(frames), *size, 2), 1.0, 0
        agrees = None
    else:
        with workers() as pool:
            clip = _prepared(scene, used, frames, options, flow, pool, on_progress)
            fitted, sweeps = refine(
                clip, options, clock, pool, on_progress, state, state_file, keep_state, illumination
            )
        camera, field, canonical = clip.camera, fitted.field(), fitted.canonical.clamp(-1, 1)
        seen = float((fitted.mass > SEEN).float().mean())
        agrees = agrees_with_flow(field, fitted.canvas, clip.flows)
        if illumination:
            good = agrees & preserves_area(field, fitted.canvas)
            illumination.finish(CanonicalVideo(canonical, field).render(), frames, good)
    on_progress(Progress("measuring", 0.99))
    nearest = nearest_used(used, len(scene.frames))
    gains = None if illumination is None else illumination.gains[nearest]
    result = CanonicalVideo(canonical, field[nearest], footage.fps, illumination=gains)
    truth = to_tensor(scene.frames)
    reference = used[camera.reference]
    report, result.visibility = measure(result, truth, used, reference, agrees)
    result.report = {
        **report,
        "seen": seen,
        "seconds": clock.elapsed(),
        "sweeps": sweeps,
        "reference_frame": scene.numbers[reference],
        "camera": camera.kind,
        "blank_frames": [scene.numbers[t] for t in scene.blank],
        "warnings": list(footage.notes),
    }
    result.info = clip_info(scene, options, name)
    on_progress(Progress("done", 1.0, report["psnr"], result.canonical))
    return result


def _is_still(frames: Tensor) -> bool:
    """Whether all frames show the same picture, apart from rounding."""
    return float((frames - frames[:1]).abs().amax()) * 127.5 <= SAME


def _prepared(
    scene: Scene,
    used: list[int],
    frames: Tensor,
    options: FitOptions,
    method: FlowMethod | None,
    pool: Workers,
    on_progress: ProgressCallback,
) -> Clip:
    """The clip with its flows, its camera motion and the initial fields."""
    pictures = [scene.frames[t] for t in used]
    flows = all_flows(
        pictures, method or dis_flow(), lambda share: on_progress(Progress("optical flow", FLOW_SHARE * share))
    )
    camera = find_camera(flows[0].forward, flows[0].backward, options.seed, flows[0].backward_trust)
    on_progress(Progress("initial field", FLOW_SHARE))
    return Clip(frames, camera, flows[0], initial_fields(frames, camera, flows, pool))
