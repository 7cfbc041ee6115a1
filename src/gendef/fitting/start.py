"""The first fields: optical flow chained from frame to frame up to the reference, on top of the camera motion."""

import torch
from torch import Tensor

from gendef.fitting.camera import canvas_positions
from gendef.fitting.field import edge_weights, empty_pull, smooth_step
from gendef.fitting.optical_flow import look_up, pixel_grid
from gendef.fitting.optimise import Clip, resized

HOME = 1e-3
"""Pull of every pixel towards the camera motion, against trust 1 in its flow."""
STIFF = 4.0
"""Smoothness with which untrusted pixels follow trusted ones."""
REDUCTION = 2
"""The chain is made on frames so many times smaller."""
ITERATIONS = 30


def chained_deviations(clip: Clip) -> Tensor:
    """Deviations from the camera motion (T, 2, h, w), in normalised units of the canvas, at reduced resolution.

    The reference frame has none. From there on outwards each frame takes over its neighbour's along the flow, where
    flow there and back agree, and smoothly continues them elsewhere.
    """
    full, camera, count = clip.size, clip.camera, len(clip.frames)
    size = (max(full[0] // REDUCTION, 2), max(full[1] // REDUCTION, 2))
    half = torch.tensor([camera.canvas[1] / full[1] * size[1] / 2, camera.canvas[0] / full[0] * size[0] / 2])[
        :, None, None
    ]
    nodes = torch.tensor([size[1] / full[1], size[0] / full[0]])[:, None, None]
    forward, backward = resized(clip.forward, size) * nodes, resized(clip.backward, size) * nodes
    to_next, to_last = (resized(trust[:, None], size)[:, 0] for trust in (clip.forward_trust, clip.backward_trust))
    frames, grid, zero = resized(clip.frames, size), pixel_grid(*size), torch.zeros(2, *size)
    deviations = torch.zeros(count, 2, *size)

    def place(t: int) -> Tensor:
        return canvas_positions(camera.to_canvas[t], size, full, camera.canvas) * half

    steps = [(t, t + 1, backward[t], to_last[t]) for t in range(camera.reference, count - 1)]
    steps += [(t, t - 1, forward[t - 1], to_next[t - 1]) for t in range(camera.reference, 0, -1)]
    for known, new, flow, trust in steps:
        target = look_up(place(known) + deviations[known], grid + flow) - place(new)
        pull = empty_pull(*size, HOME)
        pull.add_target(target, trust)
        across, down = edge_weights(frames[new], zero, 8.0, 1.0)
        deviations[new] = smooth_step(pull, STIFF * across, STIFF * down, zero, ITERATIONS)
    return deviations / half
