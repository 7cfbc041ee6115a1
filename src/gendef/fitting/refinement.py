"""Alternating optimisation: sweeps that update all fields, then the canonical image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gendef.fitting.camera import Camera, canvas_positions
from gendef.fitting.canonical_solve import CanonicalSystem, fill_unseen
from gendef.fitting.field_step import NormalEquations, edge_weights, folded, smooth_step
from gendef.fitting.initial_field import Start
from gendef.geometry import identity_grid
from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample
from gendef.optical_flow.pairwise_flow import Flows
from gendef.runtime.parallel import Workers

SYSTEMS = 4
"""Partial sums over the frames: a fixed number, so that results do not depend on the number of threads."""
LEAST_AREA = 0.05
"""Area factor (determinant of the Jacobian) below which a field counts as folded."""
LARGEST_STEP = 2.0
"""Largest step of a field in one sweep, in pixels: image gradients are a local approximation."""
REFERENCE_SHARE, LEAST_REFERENCE = 0.2, 3.0
"""Weight of the reference frame's equations for the canonical image: this share of the number of frames, and at least
this many. Without it, other frames write colours between the pixels of the reference frame."""
ITERATIONS = 8
"""Conjugate-gradient iterations of a field's step."""


@dataclass(frozen=True)
class Weights:
    """Weights of the fit; colours are in [-1, 1], lengths in pixels."""

    smoothness: float = 0.01
    """Of the squared gradient of the deviation from the camera motion."""
    sharpness: float = 8.0
    """Decay rate of the smoothness weight with the colour difference of neighbouring pixels."""
    bend: float = 0.3
    """Difference of neighbouring offsets above which the penalty is linear instead of quadratic."""
    consistency: float = 0.005
    """Of the squared distance to the canonical position of the same point in neighbouring frames."""
    anchor: float = 0.003
    """Of the squared distance to the initial field, times its trust."""
    damping: float = 0.03
    """Of the squared step (Levenberg-Marquardt)."""
    colour: float = 0.1
    """Colour difference above which the penalty is linear instead of quadratic."""
    guard: float = 4.0
    """Additional smoothness where the field folds, as a multiple."""


WEIGHTS = Weights()


@dataclass(frozen=True)
class Clip:
    """The input of a refinement.

    Attributes:
        frames: (T, 3, H, W) in [-1, 1].
        camera: camera motion.
        flows: between neighbouring frames.
        start: initial fields, to which the anchor term refers.
        weight: (T, H, W) in [0, 1], of the pixels' colours, 0 where another layer is visible; None: 1 everywhere.
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
    """The fields and the canonical image of a clip, improved by every sweep.

    Attributes:
        deviation: (T, 2, H, W), of the fields from the camera motion, in normalised units of the canvas.
        canonical: (3, Hc, Wc).
        canvas: height and width of the canonical image.
        mass: (Hc, Wc), number of observations of each canonical pixel, in frame pixels.
        trust: (T, H, W), robust weights of the pixels for the canonical image; not used for the reference frame.
        psnr: (T,), in dB, of the state before the last sweep.
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
        """Replace the frames (T, 3, H, W), for instance by ones without illumination."""
        self._frames = frames

    def positions(self, t: int) -> Tensor:
        """Sampling positions of frame t, (2, H, W), normalised."""
        return self._home[t] + self.deviation[t]

    def _pixels(self, t: int, deviations: Tensor) -> Tensor:
        """Sampling positions of frame t for given deviations (T, 2, H, W): (2, H, W) in canonical pixels."""
        return (self._home[t] + deviations[t] + 1) * self._half - 0.5

    def _summed(self, before: Callable[[int], None] = lambda t: None) -> CanonicalSystem:
        """Normal equations of the canonical image from all frames; `before` is called with each frame's index first."""
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
            # Also where the canonical image differs: the reference frame is right there by definition.
            trust = torch.full_like(trust, max(REFERENCE_SHARE * len(self._clip.frames), LEAST_REFERENCE))
        if weight is not None:
            trust = trust * weight[t]
        system.add(self._frames[t], self._pixels(t, self.deviation), trust)

    def restore(self, deviation: Tensor, canonical: Tensor, trust: Tensor) -> None:
        """Continue from the saved state of a refinement of the same clip."""
        self.deviation, self.canonical, self.trust = deviation, canonical, trust
        self.mass = self._summed().mass()

    def field(self) -> Tensor:
        """The deformation field, (T, H, W, 2)."""
        grid = identity_grid(*self._clip.size)
        return torch.stack([self.positions(t).movedim(0, -1) - grid for t in range(len(self._clip.frames))])

    def sweep(self) -> None:
        """Update all fields from the previous ones (Jacobi order), then solve for the canonical image."""
        stack, old = _with_gradients(self.canonical), self.deviation.clone()
        self._solve(self._summed(lambda t: self._step(t, stack, old)))

    def solve_canonical(self) -> None:
        """Solve for the canonical image with the fields fixed."""
        self._solve(self._summed())

    def _solve(self, system: CanonicalSystem) -> None:
        self.mass, self.canonical = system.mass(), system.solve(self.canonical)

    def _step(self, t: int, stack: Tensor, old: Tensor) -> None:
        """One Gauss-Newton step of the field of frame t; see `gendef.fitting.field_step`."""
        clip, weights = self._clip, self._weights
        here = self._pixels(t, old)
        seen = sample(stack, here.movedim(0, -1), units="pixels")
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
            return  # fixed: it defines the coordinates of the canonical image
        equations = NormalEquations.damped(*clip.size, weights.damping)
        equations.add_colours(seen[3:6], seen[6:], residual, robust)
        for other in (t - 1, t + 1):
            if 0 <= other < len(clip.frames):
                flow, trust = clip.flows.between(t, other)
                there = sample(self._pixels(other, old), (self._grid + flow).movedim(0, -1), units="pixels")
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
        # A step must not fold the field. Pixels where it would do so are not updated in this sweep.
        step *= 1 - folded(here + step, LEAST_AREA) * (1 - folds)
        self.deviation[t] += step / self._half


def _with_gradients(image: Tensor) -> Tensor:
    """The image and its gradients along x and y, (9, H, W)."""
    across, down = torch.zeros_like(image), torch.zeros_like(image)
    across[:, :, 1:-1] = (image[:, :, 2:] - image[:, :, :-2]) / 2
    down[:, 1:-1] = (image[:, 2:] - image[:, :-2]) / 2
    return torch.cat((image, across, down))
