"""The canonical image for given fields: a linear least-squares problem.

Every pixel of a frame is one equation: the canonical image, interpolated bilinearly at the sampling position, equals
the pixel's colour. The normal equations couple a canonical pixel with its eight neighbours only. Their coefficients are
polynomials in the moments of the sampling positions within each cell of four canonical pixels. One pass over the frames
sums the moments; conjugate gradients then solve for the canonical image at negligible cost.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.fitting.conjugate_gradients import conjugate_gradients
from gendef.geometry.sampling import bilinear_cell

MOMENTS = 9 + 4 * 3
"""Per cell: nine moments of the sampling positions and four of each colour channel."""
RIDGE = 1e-3
"""Weight of the squared difference to the start image, relative to one observation of weight 1."""
SMOOTH = 3e-3
"""Weight of the squared differences of neighbours: fills unobserved pixels and hardly changes observed ones."""

# Products of the bilinear weights (1 - a, a) as polynomials in 1, a, a^2.
_PRODUCTS = ((1.0, -2.0, 1.0), (0.0, 1.0, -1.0), (0.0, 0.0, 1.0))


class CanonicalSystem:
    """The normal equations of a canonical image: accumulated from frames, then solved.

    Args:
        size: height and width of the canonical image, at least 2 by 2.
    """

    def __init__(self, size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self.size = size
        self._moments = torch.zeros(MOMENTS, (size[0] - 1) * (size[1] - 1), device=device)

    def add(self, frame: Tensor, positions: Tensor, weight: Tensor) -> None:
        """Add one frame.

        Args:
            frame: (3, H, W).
            positions: (2, H, W), sampling positions x, y in canonical pixels; clamped to the image (border padding).
            weight: (H, W), of each pixel's equation.
        """
        height, width = self.size
        (left, a), (top, b) = (
            bilinear_cell(positions[0].flatten(), width),
            bilinear_cell(positions[1].flatten(), height),
        )
        cell = (top * (width - 1) + left).long()
        one = weight.flatten()
        row = 0
        for along_y in (one, one * b, one * b * b):
            for along_x in (along_y, along_y * a, along_y * a * a):
                self._moments[row].scatter_add_(0, cell, along_x)
                row += 1
        for colour in frame.flatten(1):
            for along_y in (one * colour, one * colour * b):
                for along_x in (along_y, along_y * a):
                    self._moments[row].scatter_add_(0, cell, along_x)
                    row += 1

    def merge(self, other: "CanonicalSystem") -> None:
        """Add the moments of another system of the same size."""
        self._moments += other._moments

    def mass(self) -> Tensor:
        """Sum of the bilinear weights of all observations of each canonical pixel, (H, W)."""
        one, ax, by, axby = (self._cells(row) for row in (0, 1, 3, 4))
        return self._to_pixels([one - ax - by + axby, ax - axby, by - axby, axby])

    def _cells(self, row: int) -> Tensor:
        return self._moments[row].view(self.size[0] - 1, self.size[1] - 1)

    def _to_pixels(self, corners: list[Tensor]) -> Tensor:
        """Sum the contributions of cells to their corners (top left, top right, bottom left, bottom right)."""
        height, width = self.size
        image = corners[0].new_zeros(*corners[0].shape[:-2], height, width)
        for number, value in enumerate(corners):
            y, x = divmod(number, 2)
            image[..., y : height - 1 + y, x : width - 1 + x] += value
        return image

    def _couplings(self) -> list[list[Tensor]]:
        """Entries of the normal matrix between the corners of each cell, 4 by 4 of (H - 1, W - 1)."""
        moments = self._moments[:9].view(3, 3, self.size[0] - 1, self.size[1] - 1)  # powers of b, then of a
        table = torch.tensor(_PRODUCTS, device=moments.device)
        mixed = torch.einsum("qj,pi,jihw->qphw", table, table, moments)
        return [[mixed[i // 2 + j // 2, i % 2 + j % 2] for j in range(4)] for i in range(4)]

    def solve(self, start: Tensor, iterations: int = 12, ridge: float = RIDGE, smooth: float = SMOOTH) -> Tensor:
        """The canonical image (3, H, W) with the least weighted squared error.

        Args:
            start: (3, H, W), the first guess of conjugate gradients and the target of `ridge`.
            iterations: of conjugate gradients.
            ridge, smooth: see `RIDGE` and `SMOOTH`.
        """
        couplings = self._couplings()
        height, width = self.size

        def apply(image: Tensor) -> Tensor:
            corners = [image[:, y : height - 1 + y, x : width - 1 + x] for y in (0, 1) for x in (0, 1)]
            out = self._to_pixels([sum(row[j] * corners[j] for j in range(4)) for row in couplings])  # type: ignore[misc]
            out += ridge * image
            across, down = smooth * image.diff(dim=2), smooth * image.diff(dim=1)
            out[:, :, 1:] += across
            out[:, :, :-1] -= across
            out[:, 1:] += down
            out[:, :-1] -= down
            return out

        right = []
        for colour in range(3):
            one, ax, by, axby = (self._cells(9 + 4 * colour + k) for k in range(4))
            right.append(self._to_pixels([one - ax - by + axby, ax - axby, by - axby, axby]))
        diagonal = self._to_pixels([couplings[k][k] for k in range(4)]) + ridge + 4 * smooth
        return conjugate_gradients(
            apply,
            torch.stack(right) + ridge * start,
            iterations,
            start=start,
            precondition=lambda residual: residual / diagonal,
            product=lambda one, two: (one * two).sum(dim=(1, 2), keepdim=True),  # one system per colour channel
        )


def fill_unseen(image: Tensor, mass: Tensor) -> Tensor:
    """Inpaint pixels of little mass by the pull-push algorithm (Gortler et al. 1996): (C, H, W), (H, W) -> (C, H, W).

    Colours are averaged, weighted by mass, in successively coarser images; each coarse image fills the holes of the
    next finer one.
    """
    trust = mass.clamp(0, 1)[None]
    if min(image.shape[1:]) <= 1:
        total = trust.sum()
        mean = (image * trust).sum(dim=(1, 2), keepdim=True) / total.clamp(min=1e-6)
        return image * trust + mean * (1 - trust)
    coarse_trust = F.avg_pool2d(trust[None], 2, ceil_mode=True)[0]
    coarse = F.avg_pool2d((image * trust)[None], 2, ceil_mode=True)[0] / coarse_trust.clamp(min=1e-6)
    filled = fill_unseen(coarse, 4 * coarse_trust[0])
    below = F.interpolate(filled[None], image.shape[1:], mode="bilinear", align_corners=False)[0]
    return image * trust + below * (1 - trust)
