"""The first fields: optical flow chained up to the reference, on top of the camera motion.

A chain from frame to frame drifts. So each frame may also hop over several frames, as far as flow was found, and each
pixel takes the way that is surest over all its hops (in the line of Neoral et al. 2024, "MFT").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gendef.fitting.camera import Camera, canvas_positions
from gendef.fitting.field_step import NormalEquations, edge_weights, smooth_step
from gendef.geometry.sampling import look_up, pixel_grid
from gendef.optical_flow.pairwise_flow import Flows
from gendef.runtime.parallel import Workers

HOME = 1e-3
"""Weight of the squared deviation from the camera motion, against trust 1 in a flow."""
STIFF = 0.5
"""Smoothness with which pixels without a flow follow those that have one."""
ITERATIONS = 40
LEAST_TRUST = 0.135
"""Trust in a flow below which it is not followed: there and back disagree by more than twice what is allowed."""
HOP = 0.5
"""Squared pixels by which every hop may be wrong, at least."""
DOUBT = 0.5
"""Squared pixels for each factor of e by which trust in a hop falls short of 1."""
COLOUR = 50.0
"""Squared pixels for a mean squared difference of 1 between the colours that a hop connects, of a range of 2."""
GUESS = 100.0
"""Squared pixels by which a place may be wrong that no flow leads to."""
RANGE = 50.0
"""Squared pixels of error over all hops at which trust in a place has fallen by a factor of e."""


@dataclass(frozen=True)
class Start:
    """Where fields begin, and how far that can be trusted.

    Attributes:
        deviation: (T, 2, H, W) from the camera motion, in normalised units of the canvas; zero at the reference.
        trust: (T, H, W) in [0, 1].
    """

    deviation: Tensor
    trust: Tensor


def chained(frames: Tensor, camera: Camera, flows: Sequence[Flows], workers: Workers) -> Start:
    """The first fields of a clip.

    From the reference outwards each frame takes over another one's places along a flow; where none can be trusted, it
    continues its surroundings smoothly.

    Args:
        frames: (T, 3, H, W).
        flows: over one frame, and over any other intervals.
        workers: the frames before the reference and those after it are worked on side by side.
    """
    size = (frames.shape[2], frames.shape[3])
    half = torch.tensor([camera.canvas[1] / 2, camera.canvas[0] / 2])[:, None, None]
    grid, count = pixel_grid(*size), len(frames)
    home = [canvas_positions(matrix, size, size, camera.canvas) * half for matrix in camera.to_canvas]
    places, errors = list(home), [torch.full(size, GUESS) for _ in range(count)]
    errors[camera.reference] = torch.zeros(size)

    def follow(t: int, step: int) -> None:
        """Find the places of frame t from those of the frames before it, on the way from the reference."""
        best = torch.full(size, torch.inf)
        for one in flows:
            other = t - step * one.interval
            if (other - camera.reference) * step < 0:
                continue
            flow, trust = one.between(t, other)
            at = grid + flow
            other_colour = (look_up(frames[other], at) - frames[t]).square().mean(dim=0)
            hop = HOP - DOUBT * trust.clamp(min=1e-6).log() + COLOUR * other_colour
            error = look_up(errors[other][None], at)[0] + hop
            better = (error < best) & (trust > LEAST_TRUST)
            best = torch.where(better, error, best)
            places[t] = torch.where(better, look_up(places[other], at), places[t])
        led = best < torch.inf
        beside = home[t] + _continued(frames[t], places[t] - home[t], led)
        places[t] = torch.where(led, places[t], beside)
        errors[t] = best.clamp(max=GUESS)

    def go(direction: int) -> None:
        step, end = ((1, count), (-1, -1))[direction]
        for t in range(camera.reference + step, end, step):
            follow(t, step)

    workers.each(go, 2)
    deviation = torch.stack([place - start for place, start in zip(places, home, strict=True)]) / half
    return Start(deviation, torch.exp(-torch.stack(errors) / RANGE))


def _continued(frame: Tensor, deviation: Tensor, known: Tensor) -> Tensor:
    """What is known of a deviation (2, H, W), continued smoothly, but for edges of the picture."""
    zero = torch.zeros_like(deviation)
    equations = NormalEquations.damped(known.shape[0], known.shape[1], HOME)
    equations.add_target(deviation, known.float())
    across, down = edge_weights(frame, zero, 8.0, 1.0)
    return smooth_step(equations, STIFF * across, STIFF * down, zero, ITERATIONS)
