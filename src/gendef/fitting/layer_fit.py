"""Fitting the layers of a clip: each label of the masks gets a canonical image and a field of its own.

The background covers the whole frame, and is filled from the frames in which nothing is in front of it. An object is
fitted in a window that moves with it; its field starts from the object's own motion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.fitting.camera import KINDS, STEP, Camera, canvas_positions, find_camera
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.illumination import Illumination
from gendef.fitting.initial_field import initial_fields
from gendef.fitting.layer_windows import (
    Corners,
    cut_windows,
    flows_in_frames,
    flows_in_windows,
    object_windows,
)
from gendef.fitting.options import FitOptions
from gendef.fitting.progress import Progress, ProgressCallback
from gendef.fitting.refinement import Clip, Refinement
from gendef.fitting.report import SEEN, agrees_with_flow, preserves_area
from gendef.fitting.schedule import FLOW_SHARE, Clock, refine
from gendef.geometry import identity_grid
from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample
from gendef.optical_flow.dis import FlowMethod
from gendef.optical_flow.pairwise_flow import Flows
from gendef.runtime.parallel import Workers
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layer import Layer

RIM, RIM_WEIGHT = 2, 0.05
"""Pixels around a mask whose colours count little for the layer behind it, and their weight: masks are not exact, and
motion blur mixes both layers there."""
LARGE = 0.6
"""Share of an object's largest area from which on a frame may be its reference."""
OBJECT_STEP = 2
"""Spacing, in pixels, of the flow vectors from which an object's motion is estimated."""


@dataclass(frozen=True)
class FittedLayer:
    """A layer and facts about its fit.

    Attributes:
        layer: of the used frames, without blank ones.
        good: (n, H, W) bool, where the field agrees with optical flow and is not folded.
        seen: share of the canonical pixels that any frame shows.
        sweeps: number of sweeps.
        camera: kind of the layer's common motion.
        reference: number of its reference frame among the used ones.
    """

    layer: Layer
    good: Tensor
    seen: float
    sweeps: int
    camera: str
    reference: int


def fit_all_layers(
    frames: Tensor,
    flows: Sequence[Flows],
    labels: Tensor,
    method: FlowMethod,
    options: FitOptions,
    clock: Clock,
    pool: Workers,
    on_progress: ProgressCallback,
    states: Callable[[int], StateFile] | None,
) -> list[FittedLayer]:
    """Fit the background, then the layers of all labels (T, H, W) that occur, in their order.

    Args:
        states: number of a layer -> its state file.
        The others are as for `fit_layer`.
    """
    present = [0, *(int(label) for label in labels.unique() if label)]
    costs = [float(labels[0].numel())]
    for label in present[1:]:
        window, _ = object_windows(labels == label)
        costs.append(float(window[0] * window[1]))
    fitted, illumination = [], Illumination(frames) if options.illumination else None
    for number, label in enumerate(present):
        if number == 1 and illumination:
            frames = illumination.removed(frames)
        before, share = sum(costs[:number]) / sum(costs), costs[number] / sum(costs)

        def part(progress: Progress, before: float = before, share: float = share, label: int = label) -> None:
            done = FLOW_SHARE + (0.98 - FLOW_SHARE) * (before + share * progress.done)
            stage = f"{layer_title(label)}, {progress.stage}"
            on_progress(Progress(stage, done, progress.psnr, progress.canonical))

        mine = options
        if options.budget is not None:
            left = max(options.budget - clock.elapsed(), 1.0) * costs[number] / sum(costs[number:])
            mine = replace(options, budget=clock.elapsed() + left)
        state_file = states(number) if states else None
        clock_of_layer = Clock(clock.began, mine.budget)
        fitted.append(
            fit_layer(frames, flows, labels, label, method, mine, clock_of_layer, pool, part, state_file, illumination)
        )
    return fitted


def layer_title(label: int) -> str:
    """Name of the layer of a label."""
    return "background" if label == 0 else f"object {label}"


def fit_layer(
    frames: Tensor,
    flows: Sequence[Flows],
    labels: Tensor,
    label: int,
    method: FlowMethod,
    options: FitOptions,
    clock: Clock,
    pool: Workers,
    on_progress: ProgressCallback,
    state_file: StateFile | None,
    illumination: Illumination | None,
) -> FittedLayer:
    """Fit one layer.

    Args:
        frames: (T, 3, H, W), all of the clip.
        flows: between them, those of neighbours first.
        labels: (T, H, W) uint8.
        label: of the layer; 0 is the background.
        method: of optical flow.
        illumination: of all frames. The fit of the background estimates it; the frames of other layers come without
            it, and their videos get it back.
    """
    mine = labels == label
    there = mine.flatten(1).any(dim=1).nonzero()[:, 0]
    first, last = (int(there[0]), int(there[-1]) + 1) if label else (0, len(frames))
    mine, size = mine[first:last], (frames.shape[2], frames.shape[3])
    window, corners = (size, [(0, 0)] * len(mine)) if label == 0 else object_windows(mine)
    pictures = cut_windows(frames[first:last], corners, window)
    weight = cut_windows(mine[:, None].float(), corners, window)
    own = [_within(one, first, last, mine) for one in flows]
    if label:
        own = [flows_in_windows(one, pictures, weight, corners, method) for one in own]
    near = own[0]
    area = mine.flatten(1).sum(dim=1)
    camera = find_camera(
        near.forward,
        near.backward,
        options.seed,
        near.backward_trust,
        kinds=KINDS if label == 0 else KINDS[1:],
        step=STEP if label == 0 else OBJECT_STEP,
        candidates=None if label == 0 else area >= LARGE * area.max(),
    )
    counts = weight[:, 0] if label else _background_weight(mine)
    on_progress(Progress("initial field", 0.0))
    clip = Clip(pictures, camera, near, initial_fields(pictures, camera, own, pool), counts)
    state = state_file.load() if state_file else None
    estimated = None if label else illumination
    fitted, sweeps = refine(clip, options, clock, pool, on_progress, state, state_file, True, estimated)
    canonical, field = _trimmed(fitted, _whole_field(fitted, camera, corners, size))
    canvas = (canonical.shape[1], canonical.shape[2])
    agrees = agrees_with_flow(field, canvas, flows_in_frames(near, corners, size) if label else near)
    good = agrees & preserves_area(field, canvas)
    if estimated:
        estimated.finish(CanonicalVideo(canonical, field).render(), frames, good & mine)
    alpha = None if label == 0 else mine.to(torch.uint8) * 255
    video = CanonicalVideo(canonical, field, illumination=illumination.gains[first:last] if illumination else None)
    layer = Layer(video, alpha, first, layer_title(label))
    seen = float((fitted.mass > SEEN).float().mean())
    return FittedLayer(layer, good, seen, sweeps, camera.kind, first + camera.reference)


def _within(flows: Flows, first: int, last: int, mine: Tensor) -> Flows:
    """The flows of frames `first` to `last`, with trust only where they lead from the layer to the layer."""
    part = slice(first, max(last - flows.interval, first))
    forward, backward = flows.forward[part], flows.backward[part]
    forward_trust, backward_trust = flows.forward_trust[part].clone(), flows.backward_trust[part].clone()
    grid = pixel_grid(mine.shape[1], mine.shape[2])
    for t in range(len(forward)):
        here, there = mine[t].float(), mine[t + flows.interval].float()
        forward_trust[t] *= here * sample(there[None], (grid + forward[t]).movedim(0, -1), units="pixels")[0]
        backward_trust[t] *= there * sample(here[None], (grid + backward[t]).movedim(0, -1), units="pixels")[0]
    return Flows(forward, backward, forward_trust, backward_trust, flows.interval)


def _background_weight(mine: Tensor) -> Tensor:
    """Weights of the background's colours, (T, H, W): 0 behind other layers, small in a rim around those."""
    others = (~mine)[:, None].float()
    near = F.max_pool2d(others, 2 * RIM + 1, stride=1, padding=RIM)[:, 0]
    return mine * (1 - near * (1 - RIM_WEIGHT))


def _whole_field(fitted: Refinement, camera: Camera, corners: Corners, size: tuple[int, int]) -> Tensor:
    """The field over whole frames, (T, H, W, 2); outside the window the deviation at its border is repeated."""
    grid, fields = identity_grid(*size), []
    for t, (top, left) in enumerate(corners):
        deviation = fitted.deviation[t]
        rows = (torch.arange(size[0]) - top).clamp(0, deviation.shape[1] - 1)
        columns = (torch.arange(size[1]) - left).clamp(0, deviation.shape[2] - 1)
        into = torch.eye(3, dtype=torch.float64)
        into[:2, 2] = torch.tensor([-left, -top], dtype=torch.float64)
        places = canvas_positions(camera.to_canvas[t] @ into, size, size, camera.canvas)
        fields.append((places + deviation[:, rows][:, :, columns]).movedim(0, -1) - grid)
    return torch.stack(fields)


def _trimmed(fitted: Refinement, field: Tensor) -> tuple[Tensor, Tensor]:
    """The canonical image cropped to what was seen of it, and the field (T, H, W, 2) for the cropped image."""
    canonical = fitted.canonical.clamp(-1, 1)
    seen = fitted.mass > SEEN
    tall, wide = seen.shape
    rows, columns = seen.any(dim=1).nonzero()[:, 0], seen.any(dim=0).nonzero()[:, 0]
    if len(rows) == 0:
        return canonical, field
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    if bottom - top < 2 or right - left < 2:
        return canonical, field
    grid = identity_grid(*field.shape[1:3])
    scale = torch.tensor([wide / (right - left), tall / (bottom - top)])
    shift = torch.tensor([2 * left / wide, 2 * top / tall])
    places = (grid + field + 1 - shift) * scale - 1
    return canonical[:, top:bottom, left:right].contiguous(), places - grid
