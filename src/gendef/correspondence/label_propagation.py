"""Label propagation by feature similarity (as in Jabri et al. 2020, section 4).

Each feature cell takes the labels of its most similar cells, by cosine similarity, within a window of several other
frames, weighted by a softmax.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 8
"""Radius of the search window, in feature cells."""
NEIGHBOURS = 8
"""Number of most similar cells whose labels are averaged."""
TEMPERATURE = 0.07
"""Temperature of the softmax over similarities (Jabri et al. 2020)."""
BLOCK = 36
"""Cells of a row that are compared at once."""
OUTSIDE = -9.0
"""Similarity of cells outside the image: far below -1, the least cosine."""


def propagate_labels(
    features: Tensor,
    others: Sequence[Tensor],
    labels: Sequence[Tensor],
    radius: int = RADIUS,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Propagate soft labels to one frame: (K, h, w), with the same sum over K as in `labels`.

    Args:
        features: of the frame, (C, h, w), of unit length over C.
        others: the same of the other frames.
        labels: soft labels of the other frames, (K, h, w) each.
        radius, neighbours, temperature: see `RADIUS`, `NEIGHBOURS` and `TEMPERATURE`.
    """
    height, width = features.shape[1:]
    side = 2 * radius + 1
    outside = ~_inside(height, width, radius)
    found = [_similarities(features, other, radius).masked_fill_(outside, OUTSIDE) for other in others]
    similarity, place = torch.cat(found, dim=-1).topk(min(neighbours, len(others) * side**2), dim=-1, sorted=False)
    frame, offset = place // side**2, place % side**2
    # An image with fewer than `neighbours` cells takes some from outside; their softmax weight is 0.
    row = (torch.arange(height)[:, None, None] + offset // side - radius).clamp(0, height - 1)
    column = (torch.arange(width)[None, :, None] + offset % side - radius).clamp(0, width - 1)
    table = torch.stack(list(labels)).movedim(1, -1).flatten(0, 2)
    chosen = table[(frame * height + row) * width + column]
    return torch.einsum("hwn,hwnk->khw", torch.softmax(similarity / temperature, dim=-1), chosen)


def _similarities(features: Tensor, other: Tensor, radius: int) -> Tensor:
    """Inner products of each cell with the cells of its window in the other frame, (h, w, (2 radius + 1)^2)."""
    channels, height, width = features.shape
    side, seen, blocks = 2 * radius + 1, BLOCK + 2 * radius, -(-width // BLOCK)
    spare = blocks * BLOCK - width
    wide = F.pad(other, (radius, radius + spare, radius, radius)).unfold(2, seen, BLOCK)
    table = wide.permute(1, 2, 0, 3).contiguous()  # (h + 2 radius, blocks, C, seen)
    mine = F.pad(features, (0, spare)).permute(1, 2, 0).reshape(-1, BLOCK, channels)
    result = torch.empty(height, blocks, BLOCK, side, side)
    for row in range(side):
        # One matrix product of a block with one row of all its windows; the result is a diagonal band of it.
        products = torch.bmm(mine, table[row : row + height].flatten(0, 1))
        strides = (blocks * BLOCK * seen, BLOCK * seen, seen + 1, 1)
        result[:, :, :, row] = products.as_strided((height, blocks, BLOCK, side), strides)
    return result.reshape(height, blocks * BLOCK, side * side)[:, :width]


def _inside(height: int, width: int, radius: int) -> Tensor:
    """Which cells of each window are inside the image, (h, w, (2 radius + 1)^2) bool."""
    around = torch.arange(-radius, radius + 1)
    rows, columns = torch.arange(height)[:, None] + around, torch.arange(width)[:, None] + around
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return (row_inside[:, None, :, None] & column_inside[None, :, None, :]).flatten(2)
