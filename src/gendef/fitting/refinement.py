"""The fit itself: sweeps over the frames that improve fields and canonical image in turn."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gendef.fitting.camera import Camera, canvas_positions
from gendef.fitting.canonical_solve import CanonicalSystem, fill_unseen
from gendef.fitting.field_step import NormalEquations, edge_weights, folded, smooth_step
from gendef.fitting.initial_field import Start
from gendef.geometry import identity_grid
from gendef.geometry.sampling import look_up, pixel_grid
from gendef.optical_flow.pairwise_flow import Flows
from gendef.runtime.parallel import Workers

SYSTEMS = 4
"""Frames are summed in this many parts, whatever the number of threads, so that the sums round alike everywhere."""
LEAST_AREA = 0.05
"""Area factor, against the undeformed one, below which a field counts as folded."""
LARGEST_STEP = 2.0
"""Pixels a field may move in one sweep: the colours' gradients say nothing beyond."""
REFERENCE_SHARE, LEAST_REFERENCE = 0.2, 3.0
"""How much the reference frame says about the canonical image, as a share of what all frames say, and at least as
many frames: what it does not show, other frames squeeze between its pixels, where it is seen and edited."""
ITERATIONS = 8
"""Conjugate gradients for the step of a field."""


@dataclass(frozen=True)
class Weights:
    """Weights of the fit; colours are in [-1, 1], lengths in pixels."""

    smoothness: float = 0.01
    """Of the squared gradient of the deviation from the camera motion."""
    sharpness: float = 8.0
    """How fast smoothness falls off with the difference in colour of neighbouring pixels."""
    bend: float = 0.3
    """Difference of neighbouring offsets from which on it costs linearly, not squared."""
    consistency: float = 0.005
    """Of the distance to where neighbouring frames look for the same point: what an edit needs to hold still."""
    anchor: float = 0.003
    """Of the distance to where the chained flow looks, as far as that is trusted."""
    damping: float = 0.03
    """Of the squared step."""
    colour: float = 0.1
    """Difference in colour from which on it costs linearly, not squared."""
    guard: float = 4.0
    """How many times more smoothness counts where the field folds."""


WEIGHTS = Weights()


@dataclass(frozen=True)
class Clip:
    """What is fitted.

    Attributes:
        frames: (T, 3, H, W) in [-1, 1].
        camera: motion of the whole picture.
        flows: between neighbouring frames.
        start: where the fields begin, and what they hold on to.
        weight: (T, H, W) in [0, 1], how much the colours of pixels count, 0 where another layer shows; None: all do.
    """

    frames: Tensor
    camera: Camera
    flows: Flows
    start: Start
    weight: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.frames.shape[2], self.frames.shape[3]


class Refinement:
    """The fields and the canonical image of a clip, better after every sweep.

    Attributes:
        deviation: (T, 2, H, W), of the fields from the camera motion, in normalised units of the canvas.
        canonical: (3, Hc, Wc).
        canvas: height and width of the canonical image.
        mass: (Hc, Wc), how much each canonical pixel was seen, in frame pixels.
        trust: (T, H, W), how much the frames' pixels count for the canonical image, but for the reference frame's.
        psnr: (T,), of the frames as they were before the last sweep's step.
    """

    def __init__(self, clip: Clip, workers: Workers, weights: Weights = WEIGHTS) -> None:
        self._clip, self._weights, self._workers, self._frames = clip, weights, workers, clip.frames
        self.canvas = clip.camera.canvas
        self._half = torch.tensor([self.canvas[1] / 2, self.canvas[0] / 2])[:, None, None]
        self._grid = pixel_grid(*clip.size)
        self._home = torch.stack(
            [canvas_positions(matrix, clip.size, clip.size, self.canvas) for matrix in clip.camera.to_canvas]
        )
        self.deviation = clip.start.deviation.clone()
        self.trust = torch.ones(len(clip.frames), *clip.size)
        self.psnr = torch.zeros(len(clip.frames))
        system = self._summed()
        self.mass = system.mass()
        self.canonical = fill_unseen(system.solve(torch.zeros(3, *self.canvas), 20), self.mass / 0.1)

    def use_frames(self, frames: Tensor) -> None:
        """Work on other frames (T, 3, H, W), such as the same ones in another light, from now on."""
        self._frames = frames

    def positions(self, t: int) -> Tensor:
        """Where frame t looks, (2, H, W) in normalised coordinates."""
        return self._home[t] + self.deviation[t]

    def _pixels(self, t: int, deviations: Tensor) -> Tensor:
        """Where frame t looks with one of these deviations (T, 2, H, W), (2, H, W) in pixels of the canonical image."""
        return (self._home[t] + deviations[t] + 1) * self._half - 0.5

    def _summed(self, before: Callable[[int], None] = lambda t: None) -> CanonicalSystem:
        """What all frames say about the canonical image, each after `before` was called with its number."""
        systems = [CanonicalSystem(self.canvas) for _ in range(SYSTEMS)]

        def work(part: int) -> None:
            for t in range(part, len(self._clip.frames), SYSTEMS):
                before(t)
                self._add(systems[part], t)

        self._workers.each(work, SYSTEMS)
        for system in systems[1:]:
            systems[0].merge(system)
        return systems[0]

    def _add(self, system: CanonicalSystem, t: int) -> None:
        trust, weight = self.trust[t], self._clip.weight
        if t == self._clip.camera.reference:
            # All of it, also where the canonical image shows other things: those do not belong there.
            trust = torch.full_like(trust, max(REFERENCE_SHARE * len(self._clip.frames), LEAST_REFERENCE))
        if weight is not None:
            trust = trust * weight[t]
        system.add(self._frames[t], self._pixels(t, self.deviation), trust)

    def restore(self, deviation: Tensor, canonical: Tensor, trust: Tensor) -> None:
        """Continue from what a refinement of the same clip had reached."""
        self.deviation, self.canonical, self.trust = deviation, canonical, trust
        self.mass = self._summed().mass()

    def field(self) -> Tensor:
        """The deformation field, (T, H, W, 2)."""
        grid = identity_grid(*self._clip.size)
        return torch.stack([self.positions(t).movedim(0, -1) - grid for t in range(len(self._clip.frames))])

    def sweep(self) -> None:
        """One step of all fields, each seeing the others as they were; then the canonical image that fits them."""
        stack, old = _with_gradients(self.canonical), self.deviation.clone()
        self._solve(self._summed(lambda t: self._step(t, stack, old)))

    def solve_canonical(self) -> None:
        """The canonical image that fits the fields as they are."""
        self._solve(self._summed())

    def _solve(self, system: CanonicalSystem) -> None:
        self.mass, self.canonical = system.mass(), system.solve(self.canonical)

    def _step(self, t: int, stack: Tensor, old: Tensor) -> None:
        """One Gauss-Newton step of the field of frame t; see `gendef.fitting.field_step`."""
        clip, weights = self._clip, self._weights
        here = self._pixels(t, old)
        seen = look_up(stack, here)
        residual = seen[:3] - self._frames[t]
        error = residual.square().mean(dim=0)
        robust = (1 + error / weights.colour**2).rsqrt()
        self.trust[t] = robust
        mean = error.mean()
        if clip.weight is not None:
            robust = robust * clip.weight[t]
            mean = (error * clip.weight[t]).sum() / clip.weight[t].sum().clamp(min=1e-6)
        self.psnr[t] = 10 * torch.log10(4 / mean.clamp(min=1e-8))
        if t == clip.camera.reference:
            return  # stays as it is, so that the canonical image keeps its shape
        equations = NormalEquations.damped(*clip.size, weights.damping)
        equations.add_colours(seen[3:6], seen[6:], residual, robust)
        for other in (t - 1, t + 1):
            if 0 <= other < len(clip.frames):
                flow, trust = clip.flows.between(t, other)
                there = look_up(self._pixels(other, old), self._grid + flow)
                equations.add_target(there - here, weights.consistency * trust)
        away = (clip.start.deviation[t] - self.deviation[t]) * self._half
        equations.add_target(away, weights.anchor * clip.start.trust[t])
        deviation = self.deviation[t] * self._half
        across, down = edge_weights(self._frames[t], deviation, weights.sharpness, weights.bend)
        folds = folded(here, LEAST_AREA)
        stiff = weights.smoothness * (1 + weights.guard * folds)
        across, down = across * stiff[:, 1:].maximum(stiff[:, :-1]), down * stiff[1:].maximum(stiff[:-1])
        step = smooth_step(equations, across, down, deviation, ITERATIONS)
        step *= LARGEST_STEP / step.norm(dim=0, keepdim=True).clamp(min=LARGEST_STEP)
        # No step may fold what is open; where it would, the field waits for its surroundings.
        step *= 1 - folded(here + step, LEAST_AREA) * (1 - folds)
        self.deviation[t] += step / self._half


def _with_gradients(image: Tensor) -> Tensor:
    """The image and its gradients along x and y, (9, H, W)."""
    across, down = torch.zeros_like(image), torch.zeros_like(image)
    across[:, :, 1:-1] = (image[:, :, 2:] - image[:, :, :-2]) / 2
    down[:, 1:-1] = (image[:, 2:] - image[:, :-2]) / 2
    return torch.cat((image, across, down))
