"""The illumination of each frame: a coarse gain, estimated together with the field and the canonical image.

Given those two, the gain with the least weighted squared error solves a small linear system: bilinear splines on a
grid of a few cells, with penalties on the gradient, on the size, and on changes in time of the gain's shape. The mean
over a frame may change freely from frame to frame, as exposure does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.fitting.conjugate_gradients import conjugate_gradients
from gendef.fitting.refinement import Clip, Refinement
from gendef.fitting.report import colours_match
from gendef.geometry import sample
from gendef.runtime.parallel import Workers
from gendef.video.illumination import lit, unlit

CELLS = 5
"""Cells of the grid along the shorter side of a frame: too few for the gain to follow moving objects. docs/fit.md,
"Changing light", compares grids."""
PARTS = 4
"""Pixels are averaged in this many parts of a cell along each side."""
SMOOTH, STEADY, SMALL = 0.05, 0.05, 0.002
"""Weights of the squared gradient from cell to cell, of the squared change in time of the gain's shape, and of the
squared gain; the squared error of all pixels of a cell together counts 1, and brightness is in [0, 2]."""
COLOUR = 0.05
"""Difference in colour from which on the cost grows linearly instead of quadratically."""
ITERATIONS = 40
TOLERANCE = 1e-12
"""Squared norm of the residual at which the linear system counts as solved."""
LEAST, MOST = -0.8, 4.0
"""Limits of the relative gain: 1 + gain stays positive, so that frames can be divided by it."""


class Illumination:
    """The illumination of the fitted frames.

    Args:
        frames: (T, 3, H, W), of which only the size counts.

    Attributes:
        gains: (T, h, w, 3), relative changes of brightness, see `gendef.CanonicalVideo`.
    """

    def __init__(self, frames: Tensor) -> None:
        shorter = min(frames.shape[2:])
        self.gains = torch.zeros(len(frames), *(round(CELLS * side / shorter) for side in frames.shape[2:]), 3)

    def removed(self, frames: Tensor) -> Tensor:
        """Frames (T, 3, h, w) as they would be in constant illumination."""
        # One by one, so that only one gain of full size is in memory.
        return torch.cat([unlit(frames[t : t + 1], self.gains[t : t + 1]) for t in range(len(frames))])

    def update(self, fit: Refinement, clip: Clip, pool: Workers) -> None:
        """Estimate the illumination from the present fit, and let the fit use the frames without it.

        Args:
            clip: with its frames as they are; the canonical image has the illumination of its reference frame.
        """
        frames, estimated = clip.frames, bool(self.gains.any())
        sums: list[Tensor] = [torch.empty(0)] * len(frames)

        def work(t: int) -> None:
            shown = sample(fit.canonical[None], fit.positions(t).movedim(0, -1)[None])
            weight = fit.trust[t] if clip.weight is None else fit.trust[t] * clip.weight[t]
            if estimated:
                weight = weight * colours_match(lit(shown, self.gains[t : t + 1]), frames[t : t + 1])[0]
            sums[t] = self._sums(shown[0], frames[t], weight)

        pool.each(work, len(frames))
        now = solve_gains(torch.stack(sums), self.gains.shape[1:3])
        self.gains = _relative_to(now, clip.camera.reference)
        fit.use_frames(self.removed(frames))

    def finish(self, shown: Tensor, frames: Tensor, good: Tensor) -> None:
        """Estimate the final illumination, only from pixels that the canonical image explains.

        Args:
            shown: (T, 3, H, W), rendered without illumination.
            frames: (T, 3, H, W).
            good: (T, H, W) bool, where the field agrees with optical flow and is not folded.
        """
        sums = []
        for t in range(len(frames)):
            now, frame = lit(shown[t : t + 1], self.gains[t : t + 1]), frames[t : t + 1]
            weight = good[t] * colours_match(now, frame)[0] * robust(now, frame)[0]
            sums.append(self._sums(shown[t], frames[t], weight))
        self.gains = solve_gains(torch.stack(sums), self.gains.shape[1:3])

    def _sums(self, shown: Tensor, frame: Tensor, weight: Tensor) -> Tensor:
        """Coefficients of a frame's normal equations in parts of the grid's cells: (2, 3, parts high, parts wide).

        Means of weight times squared brightness, and of weight times brightness times the missing brightness.
        """
        brightness = shown + 1
        products = torch.stack((weight * brightness.square(), weight * brightness * (frame - shown)))
        tall, wide = self.gains.shape[1:3]
        return F.adaptive_avg_pool2d(products, (PARTS * tall, PARTS * wide))


def robust(shown: Tensor, frames: Tensor) -> Tensor:
    """Weights in (0, 1] for differences in colour, (T, 3, H, W) twice -> (T, H, W)."""
    return (1 + (shown - frames).square().mean(dim=1) / COLOUR**2).rsqrt()


def solve_gains(sums: Tensor, grid: tuple[int, int] | torch.Size) -> Tensor:
    """The gains (T, h, w, 3) with the least weighted squared error and penalties.

    Args:
        sums: (T, 2, 3, PARTS h, PARTS w): means over pixels of the factor of the squared gain, and of the right side.
        grid: h and w.
    """
    rows, columns = (_spline(parts, cells) for parts, cells in zip(sums.shape[-2:], grid, strict=True))
    share = 1 / PARTS**2  # of a cell

    def down(values: Tensor) -> Tensor:
        return rows.T @ values @ columns * share

    def apply(value: Tensor) -> Tensor:
        out = down(sums[:, 0] * (rows @ value @ columns.T)) + SMALL * value
        for axis in (-1, -2):
            out = out + SMOOTH * _stiffness(value, axis)
        shape = _stiffness(value - value.mean(dim=(-2, -1), keepdim=True), 0)
        return out + STEADY * (shape - shape.mean(dim=(-2, -1), keepdim=True))

    solution = conjugate_gradients(
        apply, down(sums[:, 1]), ITERATIONS, product=lambda one, two: (one * two).sum(), tolerance=TOLERANCE
    )
    return solution.movedim(1, -1).clamp(LEAST, MOST).contiguous()


def _spline(parts: int, cells: int) -> Tensor:
    """Weight of each cell's value at the centre of each part, (parts, cells); as in `gendef.video.illumination`."""
    return F.interpolate(torch.eye(cells)[None], parts, mode="linear", align_corners=False)[0].T


def _stiffness(value: Tensor, axis: int) -> Tensor:
    """Half the gradient of the sum of squared differences along an axis."""
    steps = value.diff(dim=axis)
    edge = torch.zeros_like(value.narrow(axis, 0, 1))
    return torch.cat((edge, steps), dim=axis) - torch.cat((steps, edge), dim=axis)


def _relative_to(gains: Tensor, reference: int) -> Tensor:
    """Gains (T, h, w, 3) relative to the illumination of the reference frame."""
    return ((1 + gains) / (1 + gains[reference]) - 1).clamp(LEAST, MOST)
