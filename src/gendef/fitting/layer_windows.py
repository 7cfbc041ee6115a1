"""Windows that move with an object, so that its fit costs what the object's size costs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample
from gendef.media.images import to_uint8
from gendef.optical_flow.dis import FlowMethod
from gendef.optical_flow.pairwise_flow import Flows, compute_flows

MARGIN = 8
"""Pixels around an object that its window shows too."""
SMALLEST_WINDOW = 32
"""Least side of a window, in pixels."""

Corners = Sequence[tuple[int, int]]
"""Top and left of the window in each frame."""


def object_windows(mask: Tensor) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Windows of one size that hold an object in every frame.

    Args:
        mask: (T, H, W) bool, where the object is.

    Returns:
        Height and width of the windows, and top and left in each frame. Where the mask is empty, the window stays.
    """
    frames, height, width = mask.shape
    boxes: list[tuple[int, int, int, int] | None] = []
    for one in mask:
        rows, columns = one.any(dim=1).nonzero()[:, 0], one.any(dim=0).nonzero()[:, 0]
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


def cut_windows(stack: Tensor, corners: Corners, window: tuple[int, int]) -> Tensor:
    """The windows of a stack (n, C, H, W), one for each image: (n, C, h, w)."""
    if tuple(stack.shape[2:]) == window:
        return stack.clone()
    parts = [
        image[:, top : top + window[0], left : left + window[1]]
        for image, (top, left) in zip(stack, corners, strict=False)
    ]
    return torch.stack(parts) if parts else stack.new_zeros(0, stack.shape[1], *window)


def flows_in_windows(flows: Flows, pictures: Tensor, shown: Tensor, corners: Corners, method: FlowMethod) -> Flows:
    """Flows between the windows.

    Each pixel takes the more trusted of two flows: the one between the whole frames, and one computed between the
    windows with a plain colour around the object.

    Args:
        flows: between the whole frames.
        pictures: (n, 3, h, w), contents of the windows.
        shown: (n, 1, h, w), 1 where the window shows the object.
        corners: of the windows.
        method: of optical flow.
    """
    window, apart = (pictures.shape[2], pictures.shape[3]), flows.interval
    moved = _window_motion(corners, apart)
    forward = cut_windows(flows.forward, corners, window) + moved
    backward = cut_windows(flows.backward, corners[apart:], window) - moved
    forward_trust = cut_windows(flows.forward_trust[:, None], corners, window)[:, 0]
    backward_trust = cut_windows(flows.backward_trust[:, None], corners[apart:], window)[:, 0]
    colour = (pictures * shown).sum(dim=(0, 2, 3)) / shown.sum()
    alone = to_uint8(torch.lerp(colour[:, None, None].expand_as(pictures), pictures, shown))
    anew = compute_flows(list(alone), method, apart)
    grid = pixel_grid(*window)
    for t in range(len(forward)):
        here, there = shown[t], shown[t + apart]
        trust_there = (
            anew.forward_trust[t] * here[0] * sample(there, (grid + anew.forward[t]).movedim(0, -1), units="pixels")[0]
        )
        trust_back = (
            anew.backward_trust[t]
            * there[0]
            * sample(here, (grid + anew.backward[t]).movedim(0, -1), units="pixels")[0]
        )
        for old, trust, new, new_trust in (
            (forward[t], forward_trust[t], anew.forward[t], trust_there),
            (backward[t], backward_trust[t], anew.backward[t], trust_back),
        ):
            better = new_trust > trust
            old[:, better] = new[:, better]
            trust[better] = new_trust[better]
    return Flows(forward, backward, forward_trust, backward_trust, apart)


def _window_motion(corners: Corners, apart: int) -> Tensor:
    """What to add to flow between frames for flow between their windows: (n - apart, 2, 1, 1), x then y."""
    steps = [[one[1] - two[1], one[0] - two[0]] for one, two in zip(corners, corners[apart:], strict=False)]
    return torch.tensor(steps, dtype=torch.float32).reshape(-1, 2, 1, 1)


def flows_in_frames(flows: Flows, corners: Corners, size: tuple[int, int]) -> Flows:
    """Flows between neighbouring windows as flows between whole frames, with trust 0 outside the windows."""
    moved, tall, wide = _window_motion(corners, 1), *flows.forward.shape[2:]
    forward, backward = (torch.zeros(len(moved), 2, *size) for _ in range(2))
    forward_trust, backward_trust = (torch.zeros(len(moved), *size) for _ in range(2))
    for t in range(len(moved)):
        for frame, whole, whole_trust, flow, trust in (
            (t, forward, forward_trust, flows.forward[t] - moved[t], flows.forward_trust[t]),
            (t + 1, backward, backward_trust, flows.backward[t] + moved[t], flows.backward_trust[t]),
        ):
            top, left = corners[frame]
            whole[t, :, top : top + tall, left : left + wide] = flow
            whole_trust[t, top : top + tall, left : left + wide] = trust
    return Flows(forward, backward, forward_trust, backward_trust)
