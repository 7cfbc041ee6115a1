"""The initial fields: camera motion plus optical flow chained to the reference frame.

A chain of single-frame flows drifts. Flow over several frames is therefore chained too, and each pixel takes the chain
with the smallest accumulated error variance (as MFT, Neoral et al. 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gendef.fitting.camera import Camera, canvas_positions
from gendef.fitting.field_step import NormalEquations, edge_weights, smooth_step
from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample
from gendef.optical_flow.pairwise_flow import Flows
from gendef.runtime.parallel import Workers

HOME = 1e-3
"""Weight of the squared deviation from the camera motion, relative to a flow of trust 1."""
STIFF = 0.5
"""Weight of the smoothness that extends the field to pixels without a trusted flow."""
ITERATIONS = 40
"""Conjugate-gradient iterations of that extension."""
LEAST_TRUST = 0.135
"""Flow of less trust, exp(-2), is not used: its squared forward-backward gap exceeds twice the allowed one."""
FLOW_VARIANCE = 0.5
"""Error variance of one flow of trust 1, in squared pixels."""
TRUST_VARIANCE = 0.5
"""Error variance, in squared pixels, that is added per unit of -log(trust)."""
COLOUR_VARIANCE = 50.0
"""Error variance, in squared pixels, that is added per unit of mean squared colour difference (colours in [-1, 1])."""
UNKNOWN_VARIANCE = 100.0
"""Error variance, in squared pixels, of a position that no flow reaches; also the upper limit."""
VARIANCE_SCALE = 50.0
"""Accumulated error variance, in squared pixels, at which trust falls to 1/e."""


@dataclass(frozen=True)
class Start:
    """Initial fields and their trust.

    Attributes:
        deviation: (T, 2, H, W) from the camera motion, in normalised units of the canvas; zero at the reference.
        trust: (T, H, W) in [0, 1].
    """

    deviation: Tensor
    trust: Tensor


def initial_fields(frames: Tensor, camera: Camera, flows: Sequence[Flows], workers: Workers) -> Start:
    """Initialise the fields of a clip.

    Outwards from the reference frame, each frame takes the canonical positions of an earlier frame along the flow.
    Where no flow is trusted, the field is extended smoothly from its surroundings.

    Args:
        frames: (T, 3, H, W).
        flows: over one frame and over longer intervals.
        workers: run the frames before the reference and those after it in parallel.
    """
    size = (frames.shape[2], frames.shape[3])
    half = torch.tensor([camera.canvas[1] / 2, camera.canvas[0] / 2])[:, None, None]
    grid, count = pixel_grid(*size), len(frames)
    home = [canvas_positions(matrix, size, size, camera.canvas) * half for matrix in camera.to_canvas]
    places, errors = list(home), [torch.full(size, UNKNOWN_VARIANCE) for _ in range(count)]
    errors[camera.reference] = torch.zeros(size)

    def follow(t: int, step: int) -> None:
        """Compute the positions of frame t from frames nearer to the reference."""
        best = torch.full(size, torch.inf)
        for one in flows:
            other = t - step * one.interval
            if (other - camera.reference) * step < 0:
                continue
            flow, trust = one.between(t, other)
            at = grid + flow
            other_colour = (sample(frames[other], at.movedim(0, -1), units="pixels") - frames[t]).square().mean(dim=0)
            hop = FLOW_VARIANCE - TRUST_VARIANCE * trust.clamp(min=1e-6).log() + COLOUR_VARIANCE * other_colour
            error = sample(errors[other][None], at.movedim(0, -1), units="pixels")[0] + hop
            better = (error < best) & (trust > LEAST_TRUST)
            best = torch.where(better, error, best)
            places[t] = torch.where(better, sample(places[other], at.movedim(0, -1), units="pixels"), places[t])
        led = best < torch.inf
        beside = home[t] + _continued(frames[t], places[t] - home[t], led)
        places[t] = torch.where(led, places[t], beside)
        errors[t] = best.clamp(max=UNKNOWN_VARIANCE)

    def go(direction: int) -> None:
        step, end = ((1, count), (-1, -1))[direction]
        for t in range(camera.reference + step, end, step):
            follow(t, step)

    workers.each(go, 2)
    deviation = torch.stack([place - start for place, start in zip(places, home, strict=True)]) / half
    return Start(deviation, torch.exp(-torch.stack(errors) / VARIANCE_SCALE))


def _continued(frame: Tensor, deviation: Tensor, known: Tensor) -> Tensor:
    """A deviation (2, H, W), known on `known` (H, W), extended smoothly except across image edges."""
    zero = torch.zeros_like(deviation)
    equations = NormalEquations.damped(known.shape[0], known.shape[1], HOME)
    equations.add_target(deviation, known.float())
    across, down = edge_weights(frame, zero, 8.0, 1.0)
    return smooth_step(equations, STIFF * across, STIFF * down, zero, ITERATIONS)
