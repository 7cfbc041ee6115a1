"""The fit itself: sweeps over the frames that improve fields and canonical image in turn, from coarse to fine."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.fitting.camera import Camera, canvas_positions
from gendef.fitting.canonical import CanonicalSystem, fill_unseen
from gendef.fitting.field import crowded, edge_weights, empty_pull, smooth_step
from gendef.fitting.optical_flow import look_up, pixel_grid
from gendef.fitting.workers import Workers
from gendef.warp import identity_grid

SYSTEMS = 4
"""Frames are summed in this many parts, whatever the number of threads, so that the sums round alike everywhere."""
LEAST_AREA = 0.05
"""Area factor, against the undeformed one, below which a field counts as folded."""
LARGEST_STEP = 2.0
"""Pixels a field may move in one sweep: the colours' gradients say nothing beyond."""


@dataclass(frozen=True)
class Weights:
    """Weights of the fit; colours are in [-1, 1], lengths in pixels of the level that is worked on."""

    smoothness: float = 0.01
    """Of the squared gradient of the deviation from the camera motion."""
    sharpness: float = 8.0
    """How fast smoothness falls off with the difference in colour of neighbouring pixels."""
    bend: float = 0.3
    """Difference of neighbouring offsets from which on it costs linearly, not squared."""
    consistency: float = 0.02
    """Of the distance to where neighbouring frames look for the same point."""
    damping: float = 1e-4
    """Of the squared step."""
    colour: float = 0.05
    """Difference in colour from which on it costs linearly, not squared."""
    reference: float = 3.0
    """How many times more the reference frame says about the canonical image than another."""
    stride: int = 2
    """Pixels from one node of the field's grid to the next."""
    detail: float = 1.0
    """Pixels of the canonical image per pixel of the reference frame."""
    guard: float = 4.0
    """How many times more smoothness counts where the field folds."""
    iterations: int = 20
    """Conjugate gradients a step."""


@dataclass(frozen=True)
class Clip:
    """What is fitted.

    Attributes:
        frames: (T, 3, H, W) in [-1, 1].
        camera: motion of the whole picture.
        forward, backward: flow to the next frame and from it back, (T - 1, 2, H, W) in pixels.
        forward_trust, backward_trust: (T - 1, H, W) in [0, 1].
        weight: (T, H, W) in [0, 1], how much the colours of pixels count, 0 where another layer shows; None: all do.
    """

    frames: Tensor
    camera: Camera
    forward: Tensor
    backward: Tensor
    forward_trust: Tensor
    backward_trust: Tensor
    weight: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.frames.shape[2], self.frames.shape[3]


class Level:
    """A clip at one resolution, with its fields and canonical image.

    Attributes:
        deviation: (T, 2, h, w) on the nodes of the field's grid, from the camera motion, in normalised units.
        canonical: (3, Hc, Wc).
        mass: (Hc, Wc), how much each canonical pixel was seen, in frame pixels.
        trust: (T, H, W), how much the frames' pixels count for the canonical image.
        psnr: (T,), of the frames at this resolution as they were before the last sweep's step.
    """

    def __init__(self, clip: Clip, reduction: int, deviation: Tensor, weights: Weights, workers: Workers) -> None:
        self.weights, self._workers, self._camera = weights, workers, clip.camera
        height, width = clip.size
        self.size = (max(round(height / reduction), 2), max(round(width / reduction), 2))
        self.frames = resized(clip.frames, self.size)
        self._weight = None if clip.weight is None else resized(clip.weight[:, None], self.size)[:, 0]
        scale = self.size[0] / height * weights.detail
        self.canvas = (max(round(clip.camera.canvas[0] * scale), 2), max(round(clip.camera.canvas[1] * scale), 2))
        self._half = torch.tensor([self.canvas[1] / 2, self.canvas[0] / 2])[:, None, None]
        self.grid = (max(-(-self.size[0] // weights.stride), 2), max(-(-self.size[1] // weights.stride), 2))
        self.deviation = resized(deviation, self.grid)
        self._guide = resized(self.frames, self.grid)
        nodes = torch.tensor([self.grid[1] / width, self.grid[0] / height])[:, None, None]
        self._flows = (resized(clip.forward, self.grid) * nodes, resized(clip.backward, self.grid) * nodes)
        trusts = (clip.forward_trust, clip.backward_trust)
        self._trusts = tuple(resized(trust[:, None], self.grid)[:, 0] for trust in trusts)
        self._pixels = pixel_grid(*self.grid)
        self._full = clip.size
        frames_in_canvas = clip.camera.canvas[0] * clip.camera.canvas[1] / (height * width)
        nodes_area = self.canvas[0] * self.canvas[1] / frames_in_canvas / (self.grid[0] * self.grid[1])
        self._least_area = LEAST_AREA * nodes_area
        self._at_nodes = self._camera_at(self.grid)
        self._at_pixels = self._at_nodes if self.grid == self.size else self._camera_at(self.size)
        self.trust = torch.ones(len(self.frames), *self.size)
        self.psnr = torch.zeros(len(self.frames))
        self.canonical, self.mass = self._first_canonical()

    def see(self, frames: Tensor) -> None:
        """Work on other frames (T, 3, H, W), such as the same ones in another light, from now on."""
        self.frames = frames
        self._guide = resized(frames, self.grid)

    def _camera_at(self, size: tuple[int, int]) -> Tensor:
        """Where the camera motion alone looks, (T, 2, *size), normalised."""
        camera = self._camera
        return torch.stack([canvas_positions(matrix, size, self._full, camera.canvas) for matrix in camera.to_canvas])

    def positions(self, t: int) -> Tensor:
        """Where frame t looks, (2, h, w) in normalised coordinates."""
        return self._at_pixels[t] + resized(self.deviation[t : t + 1], self.size)[0]

    def _canvas_pixels(self, normalised: Tensor) -> Tensor:
        return (normalised + 1) * self._half - 0.5

    def _observed(self) -> CanonicalSystem:
        """What all frames say about the canonical image, at the present fields."""
        systems = self._new_systems()

        def work(part: int) -> None:
            for t in range(part, len(self.frames), SYSTEMS):
                self._add(systems[part], t, self._canvas_pixels(self.positions(t)))

        self._workers.each(work, SYSTEMS)
        return _summed(systems)

    def _first_canonical(self) -> tuple[Tensor, Tensor]:
        system = self._observed()
        mass = system.mass()
        return fill_unseen(system.solve(torch.zeros(3, *self.canvas), 20), mass / 0.1), mass

    def restore(self, deviation: Tensor, canonical: Tensor, trust: Tensor) -> None:
        """Continue from what a level like this one had reached."""
        self.deviation, self.canonical, self.trust = deviation, canonical, trust
        self.mass = self._observed().mass()

    def field(self) -> Tensor:
        """The deformation field at this level's resolution, (T, H, W, 2)."""
        grid = identity_grid(*self.size)
        return torch.stack([self.positions(t).movedim(0, -1) - grid for t in range(len(self.frames))])

    def _new_systems(self) -> list[CanonicalSystem]:
        return [CanonicalSystem(self.canvas) for _ in range(SYSTEMS)]

    def _add(self, system: CanonicalSystem, t: int, positions: Tensor) -> None:
        factor = self.weights.reference if t == self._camera.reference else 1.0
        trust = self.trust[t] if self._weight is None else self.trust[t] * self._weight[t]
        system.add(self.frames[t], positions, trust * factor)

    def sweep(self) -> None:
        """One step of all fields, each seeing the others as they were; then the canonical image that fits them."""
        systems, old = self._new_systems(), self.deviation.clone()
        stack = _with_gradients(self.canonical)

        def work(part: int) -> None:
            for t in range(part, len(self.frames), SYSTEMS):
                self._step(t, old, stack)
                self._add(systems[part], t, self._canvas_pixels(self.positions(t)))

        self._workers.each(work, SYSTEMS)
        system = _summed(systems)
        self.mass = system.mass()
        self.canonical = system.solve(self.canonical)

    def _step(self, t: int, old: Tensor, stack: Tensor) -> None:
        weights = self.weights
        seen = look_up(stack, self._canvas_pixels(self.positions(t)))
        residual = seen[:3] - self.frames[t]
        error = residual.square().mean(dim=0)
        robust = (1 + error / weights.colour**2).rsqrt()
        self.trust[t] = robust
        mean = error.mean()
        if self._weight is not None:
            robust = robust * self._weight[t]
            mean = (error * self._weight[t]).sum() / self._weight[t].sum().clamp(min=1e-6)
        self.psnr[t] = 10 * torch.log10(4 / mean.clamp(min=1e-8))
        if t == self._camera.reference:
            return  # stays as it is, so that the canonical image keeps its shape
        pull = empty_pull(*self.grid, weights.damping)
        products = torch.cat(_colour_products(seen[3:6], seen[6:], residual, robust))
        pooled = products if self.grid == self.size else F.adaptive_avg_pool2d(products[None], self.grid)[0]
        pull.matrix += pooled[:3]
        pull.vector -= pooled[3:]
        here = self._canvas_pixels(self._at_nodes[t] + old[t])
        for other, flow, trust in self._neighbours(t):
            there = self._canvas_pixels(self._at_nodes[other] + old[other])
            pull.add_target(look_up(there, self._pixels + flow) - here, weights.consistency * trust)
        deviation = old[t] * self._half
        across, down = edge_weights(self._guide[t], deviation, weights.sharpness, weights.bend)
        folded = crowded(here, self._least_area)
        stiff = weights.smoothness * (1 + weights.guard * folded)
        across, down = across * stiff[:, 1:].maximum(stiff[:, :-1]), down * stiff[1:].maximum(stiff[:-1])
        step = smooth_step(pull, across, down, deviation, weights.iterations)
        step *= LARGEST_STEP / step.norm(dim=0, keepdim=True).clamp(min=LARGEST_STEP)
        # No step may fold what is open; where it would, the field waits for its surroundings.
        step *= 1 - crowded(here + step, self._least_area) * (1 - folded)
        self.deviation[t] += step / self._half

    def _neighbours(self, t: int) -> list[tuple[int, Tensor, Tensor]]:
        """Neighbouring frames with the flow to them and its trust, on the field's grid."""
        found = []
        if t + 1 < len(self.frames):
            found.append((t + 1, self._flows[0][t], self._trusts[0][t]))
        if t > 0:
            found.append((t - 1, self._flows[1][t - 1], self._trusts[1][t - 1]))
        return found


def _colour_products(across: Tensor, down: Tensor, residual: Tensor, weight: Tensor) -> list[Tensor]:
    """Entries of the 2 by 2 colour terms and of their right side: xx, xy, yy, x, y, each (1, H, W)."""
    weighted_x, weighted_y = across * weight, down * weight
    pairs = (
        (weighted_x, across),
        (weighted_x, down),
        (weighted_y, down),
        (weighted_x, residual),
        (weighted_y, residual),
    )
    return [(a * b).sum(dim=0, keepdim=True) for a, b in pairs]


def _with_gradients(image: Tensor) -> Tensor:
    """The image and its gradients along x and y, (9, H, W)."""
    across, down = torch.zeros_like(image), torch.zeros_like(image)
    across[:, :, 1:-1] = (image[:, :, 2:] - image[:, :, :-2]) / 2
    down[:, 1:-1] = (image[:, 2:] - image[:, :-2]) / 2
    return torch.cat((image, across, down))


def _summed(systems: list[CanonicalSystem]) -> CanonicalSystem:
    for system in systems[1:]:
        systems[0].merge(system)
    return systems[0]


def resized(stack: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) at another size, without aliasing."""
    if tuple(stack.shape[2:]) == tuple(size) or len(stack) == 0:
        return stack if len(stack) else stack.new_zeros(0, stack.shape[1], *size)
    smaller = size[0] < stack.shape[2]
    return F.interpolate(stack, size, mode="bilinear", align_corners=False, antialias=smaller)
