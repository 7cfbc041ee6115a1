"""One Gauss-Newton step of a deformation field: towards the colours, the neighbouring frames, and smoothness.

For one frame the step d (in pixels of the canonical image) minimises

    sum  a (r + g d)^2  +  c |p + d - q|^2  +  m |d|^2  +  sum  w |grad (D + d)|^2

over the pixels. r is the residual, canonical image minus frame, at the present positions p; g is the image gradient
there; q are the canonical positions of the same point according to the neighbouring frames and the initial field, and c
their weights; D is the field's deviation from the camera motion. The weights a and w make both sums robust (iteratively
reweighted least squares), and w is lower across image edges. It is a linear system with two unknowns per pixel.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.fitting.conjugate_gradients import conjugate_gradients


@dataclass
class NormalEquations:
    """Normal equations A d = b of the step d of every pixel: the minimum of d' A d - 2 b' d.

    Attributes:
        matrix: A as (3, H, W): its entries xx, xy and yy.
        vector: b, (2, H, W).
    """

    matrix: Tensor
    vector: Tensor

    @classmethod
    def damped(cls, height: int, width: int, damping: float, device: torch.device | str = "cpu") -> "NormalEquations":
        """The equations of the term damping |d|^2."""
        matrix = torch.zeros(3, height, width, device=device)
        matrix[0] += damping
        matrix[2] += damping
        return cls(matrix, torch.zeros(2, height, width, device=device))

    def add_target(self, step: Tensor, weight: Tensor) -> None:
        """Add the term weight |d - step|^2, with weight (H, W) and step (2, H, W)."""
        self.matrix[0] += weight
        self.matrix[2] += weight
        self.vector += weight * step

    def add_colours(self, across: Tensor, down: Tensor, residual: Tensor, weight: Tensor) -> None:
        """Add the term weight |residual + across d_x + down d_y|^2, with weight (H, W) and the others (3, H, W)."""
        weighted_x, weighted_y = across * weight, down * weight
        self.matrix[0] += (weighted_x * across).sum(dim=0)
        self.matrix[1] += (weighted_x * down).sum(dim=0)
        self.matrix[2] += (weighted_y * down).sum(dim=0)
        self.vector[0] -= (weighted_x * residual).sum(dim=0)
        self.vector[1] -= (weighted_y * residual).sum(dim=0)


def smooth_step(equations: NormalEquations, across: Tensor, down: Tensor, deviation: Tensor, iterations: int) -> Tensor:
    """The step (2, H, W) that minimises the sum of `equations` and of the roughness of the stepped field.

    Args:
        across: (H, W - 1), weights between horizontal neighbours.
        down: (H - 1, W), weights between vertical neighbours.
        deviation: (2, H, W), to which the step is added; roughness is that of the sum.
        iterations: of conjugate gradients.
    """
    xx, xy, yy = equations.matrix
    around = torch.zeros_like(xx)
    around[:, 1:] += across
    around[:, :-1] += across
    around[1:] += down
    around[:-1] += down
    px, py = xx + around, yy + around
    determinant = px * py - xy * xy
    inverse = torch.stack((py, -xy, px)) / determinant.clamp(min=1e-12)

    horizontal, vertical = torch.empty_like(deviation[:, :, 1:]), torch.empty_like(deviation[:, 1:])

    def roughness(field: Tensor, out: Tensor) -> None:
        torch.sub(field[:, :, 1:], field[:, :, :-1], out=horizontal).mul_(across)
        torch.sub(field[:, 1:], field[:, :-1], out=vertical).mul_(down)
        out.zero_()
        out[:, :, 1:] += horizontal
        out[:, :, :-1] -= horizontal
        out[:, 1:] += vertical
        out[:, :-1] -= vertical

    # Buffers are reused: allocating memory for every operation takes longer than the arithmetic.
    image, scaled = torch.empty_like(deviation), torch.empty_like(deviation)

    def apply(field: Tensor) -> Tensor:
        roughness(field, image)
        image[0].addcmul_(xx, field[0]).addcmul_(xy, field[1])
        image[1].addcmul_(xy, field[0]).addcmul_(yy, field[1])
        return image

    def precondition(residual: Tensor) -> Tensor:
        torch.mul(inverse[:2], residual[0], out=scaled).addcmul_(inverse[1:], residual[1])
        return scaled

    roughness(deviation, image)
    return conjugate_gradients(apply, equations.vector - image, iterations, precondition=precondition, product=_product)


def _product(one: Tensor, two: Tensor) -> float:
    return float(torch.dot(one.view(-1), two.view(-1)))


def folded(positions: Tensor, smallest: float) -> Tensor:
    """Pixels at which a field folds or nearly folds: 1 there and at their eight neighbours, else 0; (H, W).

    Args:
        positions: (2, H, W).
        smallest: area of a cell of four neighbours, in squared units of the positions, below which the cell counts
            as folded.
    """
    across = positions[:, :-1, 1:] - positions[:, :-1, :-1]
    down = positions[:, 1:, :-1] - positions[:, :-1, :-1]
    small = (across[0] * down[1] - across[1] * down[0] < smallest).float()
    return F.max_pool2d(F.pad(small, (1, 2, 1, 2))[None], 3, stride=1)[0]


def edge_weights(frame: Tensor, deviation: Tensor, sharpness: float, bend: float) -> tuple[Tensor, Tensor]:
    """Smoothness weights between neighbours: lower across image edges and where the field already bends.

    Args:
        frame: (3, H, W) in [-1, 1].
        deviation: (2, H, W) in pixels.
        sharpness: decay rate with the colour difference.
        bend: difference of neighbouring offsets, in pixels, above which the penalty is linear instead of quadratic.

    Returns:
        (H, W - 1) and (H - 1, W), each at most 1.
    """
    weights = []
    for dim in (2, 1):
        colour = frame.diff(dim=dim).abs().mean(dim=0)
        rough = deviation.diff(dim=dim).square().sum(dim=0)
        weights.append((0.05 + 0.95 * torch.exp(-sharpness * colour)) / (1 + rough / bend**2).sqrt())
    return weights[0], weights[1]
