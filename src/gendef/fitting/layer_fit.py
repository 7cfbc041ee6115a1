"""Fitting several layers: each label of the masks gets a canonical image and a field of its own.

The background sees the whole picture, and is filled from the frames where nothing is before it. A thing before it is
followed by a window that moves with it: its field starts from the thing's own motion, and costs what its size costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.fitting.camera import KINDS, STEP, Camera, canvas_positions, find_camera
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.illumination import Light
from gendef.fitting.initial_field import chained
from gendef.fitting.refinement import Clip, Refinement
from gendef.fitting.report import (
    agreeing,
    unsqueezed,
)
from gendef.fitting.schedule import FLOW_SHARE, Clock, Moment, Options, Watcher, refined
from gendef.geometry import identity_grid
from gendef.geometry.sampling import look_up, pixel_grid
from gendef.media.images import to_uint8
from gendef.optical_flow.dis import FlowMethod
from gendef.optical_flow.pairwise_flow import (
    Flows,
    found_flows,
)
from gendef.runtime.parallel import Workers
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import Layer

RIM = 2
"""Pixels around a mask that hardly count for what is behind it: masks are not exact, and motion blurs."""
RIM_WEIGHT = 0.05
MARGIN = 8
"""Pixels around a thing that its window shows too."""
SMALLEST_WINDOW = 32
"""Pixels of a window's side, at least."""
LARGE = 0.6
"""Share of a thing's largest area from which on a frame may be its reference."""
OBJECT_STEP = 2
"""Every how many pixels flow is looked at to find a thing's motion."""
SEEN = 0.25
"""Observations from which on a canonical pixel counts as seen."""


@dataclass(frozen=True)
class FittedLayer:
    """A layer, and what is known about it.

    Attributes:
        layer: of the used frames, without blank ones.
        good: (n, H, W) bool, where field and flow agree and the field is open.
        seen: share of the canonical pixels that any frame shows.
        sweeps: that were made.
        camera: kind of its common motion.
        reference: number of its reference frame among the used ones.
    """

    layer: Layer
    good: Tensor
    seen: float
    sweeps: int
    camera: str
    reference: int


def fit_layer(
    frames: Tensor,
    flows: Sequence[Flows],
    labels: Tensor,
    label: int,
    method: FlowMethod,
    options: Options,
    clock: Clock,
    pool: Workers,
    watcher: Watcher,
    state_file: StateFile | None,
    light: Light | None,
) -> FittedLayer:
    """Fit one layer.

    Args:
        frames: (T, 3, H, W), all of the clip.
        flows: between them, those of neighbours first.
        labels: (T, H, W) uint8.
        label: of the layer; 0 is the background.
        method: of optical flow.
        light: of all frames; the background finds it, and things before it, whose frames come without it, are in it.
    """
    mine = labels == label
    there = mine.flatten(1).any(dim=1).nonzero()[:, 0]
    first, last = (int(there[0]), int(there[-1]) + 1) if label else (0, len(frames))
    mine, size = mine[first:last], (frames.shape[2], frames.shape[3])
    window, corners = (size, [(0, 0)] * len(mine)) if label == 0 else _windows(mine)
    pictures, weight = _cut(frames[first:last], corners, window), _cut(mine[:, None].float(), corners, window)
    inner = [_within(one, first, last, mine) for one in flows]
    own = inner if label == 0 else [_in_windows(one, pictures, weight, corners, method) for one in inner]
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
    counts = weight[:, 0] if label else _behind(mine)
    watcher(Moment("first field", 0.0))
    clip = Clip(pictures, camera, near, chained(pictures, camera, own, pool), counts)
    state = state_file.load() if state_file else None
    found = None if label else light
    fitted, sweeps = refined(clip, options, clock, pool, watcher, state, state_file, True, found)
    canonical, field = _trimmed(fitted, _whole_field(fitted, camera, corners, size))
    canvas = (canonical.shape[1], canonical.shape[2])
    good = agreeing(field, canvas, _in_frames(near, corners, size) if label else near) & unsqueezed(field, canvas)
    if found:
        found.finish(CanonicalVideo(canonical, field).render(), frames, good & mine)
    alpha = None if label == 0 else mine.to(torch.uint8) * 255
    video = CanonicalVideo(canonical, field, illumination=light.illumination[first:last] if light else None)
    layer = Layer(video, alpha, first, "background" if label == 0 else f"object {label}")
    seen = float((fitted.mass > SEEN).float().mean())
    return FittedLayer(layer, good, seen, sweeps, camera.kind, first + camera.reference)


def _within(flows: Flows, first: int, last: int, mine: Tensor) -> Flows:
    """The flows of some frames, trusted only where they go from the layer to the layer."""
    part = slice(first, max(last - flows.interval, first))
    forward, backward = flows.forward[part], flows.backward[part]
    on, back = flows.forward_trust[part].clone(), flows.backward_trust[part].clone()
    grid = pixel_grid(mine.shape[1], mine.shape[2])
    for t in range(len(forward)):
        here, there = mine[t].float(), mine[t + flows.interval].float()
        on[t] *= here * look_up(there[None], grid + forward[t])[0]
        back[t] *= there * look_up(here[None], grid + backward[t])[0]
    return Flows(forward, backward, on, back, flows.interval)


def _in_windows(
    flows: Flows, pictures: Tensor, shown: Tensor, corners: Sequence[tuple[int, int]], method: FlowMethod
) -> Flows:
    """The flows between windows that move with a thing: those of the whole frames, or where they are surer those that
    are found anew between the windows, with nothing but the thing in them.

    Args:
        pictures: (n, 3, h, w), what the windows show.
        shown: (n, 1, h, w), where it is the thing.
        corners: top and left of each window.
    """
    window, apart = (pictures.shape[2], pictures.shape[3]), flows.interval
    moved = _moved(corners, apart)
    forward = _cut(flows.forward, corners, window) + moved
    backward = _cut(flows.backward, corners[apart:], window) - moved
    forward_trust = _cut(flows.forward_trust[:, None], corners, window)[:, 0]
    backward_trust = _cut(flows.backward_trust[:, None], corners[apart:], window)[:, 0]
    colour = (pictures * shown).sum(dim=(0, 2, 3)) / shown.sum()
    alone = to_uint8(torch.lerp(colour[:, None, None].expand_as(pictures), pictures, shown))
    anew = found_flows(list(alone), method, apart)
    grid = pixel_grid(*window)
    for t in range(len(forward)):
        here, there = shown[t], shown[t + apart]
        sure = anew.forward_trust[t] * here[0] * look_up(there, grid + anew.forward[t])[0]
        sure_back = anew.backward_trust[t] * there[0] * look_up(here, grid + anew.backward[t])[0]
        for old, trust, new, new_trust in (
            (forward[t], forward_trust[t], anew.forward[t], sure),
            (backward[t], backward_trust[t], anew.backward[t], sure_back),
        ):
            better = new_trust > trust
            old[:, better] = new[:, better]
            trust[better] = new_trust[better]
    return Flows(forward, backward, forward_trust, backward_trust, apart)


def _moved(corners: Sequence[tuple[int, int]], apart: int) -> Tensor:
    """What motion between frames loses between the windows that move with it: (n - apart, 2, 1, 1), x then y."""
    steps = [[one[1] - two[1], one[0] - two[0]] for one, two in zip(corners, corners[apart:], strict=False)]
    return torch.tensor(steps, dtype=torch.float32).reshape(-1, 2, 1, 1)


def _in_frames(flows: Flows, corners: Sequence[tuple[int, int]], size: tuple[int, int]) -> Flows:
    """Flows between neighbouring windows as flows between whole frames, without trust outside the windows."""
    moved, tall, wide = _moved(corners, 1), *flows.forward.shape[2:]
    forward, backward = (torch.zeros(len(moved), 2, *size) for _ in range(2))
    forward_trust, backward_trust = (torch.zeros(len(moved), *size) for _ in range(2))
    for t in range(len(moved)):
        for frame, whole, trust, flow, sure in (
            (t, forward, forward_trust, flows.forward[t] - moved[t], flows.forward_trust[t]),
            (t + 1, backward, backward_trust, flows.backward[t] + moved[t], flows.backward_trust[t]),
        ):
            top, left = corners[frame]
            whole[t, :, top : top + tall, left : left + wide] = flow
            trust[t, top : top + tall, left : left + wide] = sure
    return Flows(forward, backward, forward_trust, backward_trust)


def _behind(mine: Tensor) -> Tensor:
    """Weights of what is behind other things: small in a rim around those, (T, H, W)."""
    others = (~mine)[:, None].float()
    near = F.max_pool2d(others, 2 * RIM + 1, stride=1, padding=RIM)[:, 0]
    return mine * (1 - near * (1 - RIM_WEIGHT))


def _windows(mine: Tensor) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """A window that holds the thing in every frame: its height and width, and its top and left in each frame."""
    frames, height, width = mine.shape
    boxes: list[tuple[int, int, int, int] | None] = []
    for mask in mine:
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        boxes.append((int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])) if len(rows) else None)
    known = [box for box in boxes if box]
    tall = min(max(max(box[2] - box[0] for box in known) + 1 + 2 * MARGIN, SMALLEST_WINDOW), height)
    wide = min(max(max(box[3] - box[1] for box in known) + 1 + 2 * MARGIN, SMALLEST_WINDOW), width)
    corners, box = [], known[0]
    for t in range(frames):
        box = boxes[t] or box
        top, left = (box[0] + box[2] + 1 - tall) // 2, (box[1] + box[3] + 1 - wide) // 2
        corners.append((min(max(top, 0), height - tall), min(max(left, 0), width - wide)))
    return (tall, wide), corners


def _cut(stack: Tensor, corners: Sequence[tuple[int, int]], window: tuple[int, int]) -> Tensor:
    """Windows of a stack (n, C, H, W), one each."""
    if tuple(stack.shape[2:]) == window:
        return stack.clone()
    parts = [
        image[:, top : top + window[0], left : left + window[1]]
        for image, (top, left) in zip(stack, corners, strict=False)
    ]
    return torch.stack(parts) if parts else stack.new_zeros(0, stack.shape[1], *window)


def _whole_field(
    fitted: Refinement, camera: Camera, corners: Sequence[tuple[int, int]], size: tuple[int, int]
) -> Tensor:
    """The field over whole frames, (T, H, W, 2); beyond the window the deviation at its border goes on."""
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
    """The canonical image cut to what was seen of it, and the field (T, H, W, 2) for that."""
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


def fit_all_layers(
    frames: Tensor,
    flows: Sequence[Flows],
    labels: Tensor,
    method: FlowMethod,
    options: Options,
    clock: Clock,
    pool: Workers,
    watcher: Watcher,
    state_file: Callable[[int], StateFile] | None,
) -> list[FittedLayer]:
    """The background, and the layers of all labels (T, H, W) that occur, in their order; arguments as for `fit_layer`.

    Args:
        state_file: number of a layer in the result -> where to continue from, and where to save.
    """
    present = [0, *(int(label) for label in labels.unique() if label)]
    costs = [float(labels[0].numel())]
    for label in present[1:]:
        window, _ = _windows(labels == label)
        costs.append(float(window[0] * window[1]))
    fitted, light = [], Light(frames) if options.illumination else None
    for number, label in enumerate(present):
        if number == 1 and light:
            frames = light.removed(frames)
        before, share = sum(costs[:number]) / sum(costs), costs[number] / sum(costs)

        def part(moment: Moment, before: float = before, share: float = share, label: int = label) -> None:
            name = "background" if label == 0 else f"object {label}"
            done = FLOW_SHARE + (0.98 - FLOW_SHARE) * (before + share * moment.done)
            watcher(Moment(f"{name}, {moment.stage}", done, moment.psnr, moment.canonical))

        mine = options
        if options.budget is not None:
            left = max(options.budget - clock.elapsed(), 1.0) * costs[number] / sum(costs[number:])
            mine = replace(options, budget=clock.elapsed() + left)
        fitted.append(
            fit_layer(
                frames,
                flows,
                labels,
                label,
                method,
                mine,
                Clock(clock.began, mine.budget),
                pool,
                part,
                state_file(number) if state_file else None,
                light,
            )
        )
    return fitted
