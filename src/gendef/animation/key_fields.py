"""Motion as fields at key times: interpolation in time, joining of windows, and displacements asked for at points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import compose


@dataclass(frozen=True)
class PointConstraint:
    """A displacement wanted at a point of the reference image.

    Attributes:
        x, y: the point, normalised coordinates of the reference image, in [-1, 1].
        dx, dy: where what is there shall have gone, normalised units.
        time: at this time, in frames from the reference image; not 0.
    """

    x: float
    y: float
    dx: float
    dy: float
    time: float


@dataclass(frozen=True)
class KeyFields:
    """The motion of a reference image at key times.

    Attributes:
        times: (K,), frames from the reference image, ascending; 0 is one of them.
        fields: (K, h, w, 2), offset of each pixel of the frame at that time to its place in the reference image, in
            normalised units; zero at time 0. What moves is continued smoothly over what stands still, so that the
            fields may be cut by any mask.
        moving: (H, W) in [0, 1], where the reference image is expected to move.
    """

    times: Tensor
    fields: Tensor
    moving: Tensor

    def at(self, times: Sequence[float] | Tensor) -> Tensor:
        """Fields (T, h, w, 2) at any times, by cubic splines through the key fields.

        Raises:
            InputError: a time lies outside the key times.
        """
        weights = spline_weights(self.times, times)
        return torch.einsum("tk,khwc->thwc", weights, self.fields)

    def velocity(self, time: float) -> Tensor:
        """Change of the field in a frame at `time`, (h, w, 2).

        Raises:
            InputError: the time lies outside the key times.
        """
        return torch.einsum("tk,khwc->thwc", spline_weights(self.times, [time], derivative=1), self.fields)[0]

    def scaled(self, strength: float) -> "KeyFields":
        """The same motion, all offsets times `strength`."""
        return replace(self, fields=self.fields * strength)

    def joined(self, other: "KeyFields", *, at_end: bool = True) -> "KeyFields":
        """This motion and what follows it (or, not `at_end`, goes before it).

        Args:
            other: its reference image is this motion's last (first) frame; of its times those after (before) 0 count.
        """
        here = -1 if at_end else 0
        chosen = other.times > 0 if at_end else other.times < 0
        # Frame -> this motion's outermost frame -> reference image.
        inner = self.fields[here][None].expand(int(chosen.sum()), -1, -1, -1)
        fields = compose(other.fields[chosen], inner)
        times = other.times[chosen] + self.times[here]
        parts = [(self.times, self.fields), (times, fields)]
        parts = parts if at_end else parts[::-1]
        return replace(self, times=torch.cat([t for t, _ in parts]), fields=torch.cat([f for _, f in parts]))


def spline_weights(keys: Tensor, times: Sequence[float] | Tensor, derivative: int = 0) -> Tensor:
    """Weights (T, K) of the values at `keys` (K,) in the cubic spline through them, or in its derivative, at `times`.

    Raises:
        InputError: a time lies outside the keys.
    """
    from scipy.interpolate import CubicSpline

    knots = keys.double().cpu().numpy()
    wanted = np.asarray(times, np.float64).reshape(-1)
    outside = wanted[(wanted < knots[0]) | (wanted > knots[-1]) | ~np.isfinite(wanted)]
    if len(outside):
        raise InputError(f"time {outside[0]:g} lies outside the motion, which spans {knots[0]:g} to {knots[-1]:g}")
    spline = CubicSpline(knots, np.eye(len(knots)))
    return torch.from_numpy(spline(wanted, derivative)).to(keys.dtype)


def bilinear_weights(x: float, y: float, side: int) -> Tensor:
    """Weights (h * w,) of the cells of a square grid in the bilinear value at normalised (x, y), borders repeated."""
    weights = torch.ones(1)
    for place in (y, x):
        position = min(max(((place + 1) * side - 1) / 2, 0.0), side - 1.0)
        low = min(int(position), side - 2)
        axis = torch.zeros(side)
        axis[low], axis[low + 1] = 1 - (position - low), position - low
        weights = (weights[:, None] * axis[None]).flatten()
    return weights
