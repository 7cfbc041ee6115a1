"""The light of each frame: a coarse gain that is found beside the field and the canonical image.

Given those two, the gain that explains the frames best in weighted squares solves a small linear system: bilinear
splines on a grid of a few cells, with penalties on its gradient, on changes in time of its shape, and on its size. Its
mean over a frame may change freely from frame to frame, as exposure does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.fitting.refinement import Clip, Refinement
from gendef.fitting.report import coloured
from gendef.geometry import sample
from gendef.runtime.parallel import Workers
from gendef.video.illumination import lit, unlit

CELLS = 5
"""Cells of the grid along the shorter side of a frame: too few to follow things that move."""
PARTS = 4
"""Along each side, pixels are summed in so many parts of a cell."""
SMOOTH, STEADY, SMALL = 0.05, 0.05, 0.002
"""Weights of the squared gradient from cell to cell, of the squared change in time of the gain's shape, and of the
squared gain; the squared error of all pixels of a cell together counts 1, and brightness is in [0, 2]."""
COLOUR = 0.05
"""Difference in colour from which on it costs linearly, not squared."""
ITERATIONS = 40
LEAST, MOST = -0.8, 4.0
"""Limits of the gain, so that frames can be divided by it."""


class Light:
    """The light of the frames that are fitted.

    Args:
        frames: (T, 3, H, W), of which only the size counts.

    Attributes:
        illumination: (T, h, w, 3), see `gendef.CanonicalVideo`.
    """

    def __init__(self, frames: Tensor) -> None:
        shorter = min(frames.shape[2:])
        self.illumination = torch.zeros(len(frames), *(round(CELLS * side / shorter) for side in frames.shape[2:]), 3)

    def removed(self, frames: Tensor) -> Tensor:
        """Frames (T, 3, h, w) as they would be if the light did not change."""
        # One by one, so that gains of full size are never held together.
        return torch.cat([unlit(frames[t : t + 1], self.illumination[t : t + 1]) for t in range(len(frames))])

    def update(self, fit: Refinement, clip: Clip, pool: Workers) -> None:
        """Find the light anew, and let a fit work on its clip's frames without it.

        Args:
            clip: as it is; its reference frame is the one in whose light the canonical image shall be.
        """
        frames, found = clip.frames, bool(self.illumination.any())
        sums: list[Tensor] = [torch.empty(0)] * len(frames)

        def work(t: int) -> None:
            shown = sample(fit.canonical[None], fit.positions(t).movedim(0, -1)[None])
            weight = fit.trust[t] if clip.weight is None else fit.trust[t] * clip.weight[t]
            if found:
                weight = weight * coloured(lit(shown, self.illumination[t : t + 1]), frames[t : t + 1])[0]
            sums[t] = self._sums(shown[0], frames[t], weight)

        pool.each(work, len(frames))
        now = solved(torch.stack(sums), self.illumination.shape[1:3])
        self.illumination = _against(now, clip.camera.reference)
        fit.see(self.removed(frames))

    def finish(self, shown: Tensor, frames: Tensor, good: Tensor) -> None:
        """The light in the end, from nothing but pixels that the canonical image explains.

        Args:
            shown: (T, 3, H, W), what field and canonical image show.
            frames: (T, 3, H, W).
            good: (T, H, W) bool, where field and flow agree and the field is open.
        """
        sums = []
        for t in range(len(frames)):
            now, frame = lit(shown[t : t + 1], self.illumination[t : t + 1]), frames[t : t + 1]
            weight = good[t] * coloured(now, frame)[0] * robust(now, frame)[0]
            sums.append(self._sums(shown[t], frames[t], weight))
        self.illumination = solved(torch.stack(sums), self.illumination.shape[1:3])

    def _sums(self, shown: Tensor, frame: Tensor, weight: Tensor) -> Tensor:
        """What the pixels of a frame say, in parts of the grid's cells: (2, 3, parts high, parts wide).

        Means of weight times squared brightness, and of weight times brightness times what is missing.
        """
        brightness = shown + 1
        products = torch.stack((weight * brightness.square(), weight * brightness * (frame - shown)))
        tall, wide = self.illumination.shape[1:3]
        return F.adaptive_avg_pool2d(products, (PARTS * tall, PARTS * wide))


def robust(shown: Tensor, frames: Tensor) -> Tensor:
    """Weights in (0, 1] for differences in colour, (T, 3, H, W) twice -> (T, H, W)."""
    return (1 + (shown - frames).square().mean(dim=1) / COLOUR**2).rsqrt()


def solved(sums: Tensor, grid: tuple[int, int] | torch.Size) -> Tensor:
    """The gain (T, h, w, 3) that explains frames best.

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

    solution = torch.zeros(len(sums), 3, *grid)
    residual = down(sums[:, 1])
    direction, energy = residual.clone(), residual.square().sum()
    for _ in range(ITERATIONS):
        if energy <= 1e-12:
            break
        image = apply(direction)
        step = energy / (direction * image).sum()
        solution += step * direction
        residual = residual - step * image
        before, energy = energy, residual.square().sum()
        direction = residual + energy / before * direction
    return solution.movedim(1, -1).clamp(LEAST, MOST).contiguous()


def _spline(parts: int, cells: int) -> Tensor:
    """(parts, cells): weight of each cell's value at the centre of each part; as in `gendef.video.illumination`."""
    return F.interpolate(torch.eye(cells)[None], parts, mode="linear", align_corners=False)[0].T


def _stiffness(value: Tensor, axis: int) -> Tensor:
    """Half the gradient of the sum of squared differences along an axis."""
    steps = value.diff(dim=axis)
    edge = torch.zeros_like(value.narrow(axis, 0, 1))
    return torch.cat((edge, steps), dim=axis) - torch.cat((steps, edge), dim=axis)


def _against(illumination: Tensor, reference: int) -> Tensor:
    """The light as a change from that of the reference frame, (T, h, w, 3)."""
    return ((1 + illumination) / (1 + illumination[reference]) - 1).clamp(LEAST, MOST)
