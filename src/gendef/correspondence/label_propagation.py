"""Labels that follow what looks alike: each place takes those of the most similar places nearby in other frames.

Label propagation as in the evaluation of self-supervised correspondence (Jabri et al. 2020, section 4): similarity of
unit features within a window, the most similar places of several frames, and a softmax over them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 8
"""Places, in each direction, over which a label may move from a frame that is looked at."""
NEIGHBOURS = 8
"""Most similar places that share in a label."""
TEMPERATURE = 0.07
"""Difference in similarity by which a neighbour's share falls to 1/e."""
BLOCK = 36
"""Places of a row that are compared at once."""
OUTSIDE = -9.0
"""Similarity of places outside the picture: far below -1, the least of two unit features."""


def matched_labels(
    features: Tensor,
    others: Sequence[Tensor],
    labels: Sequence[Tensor],
    radius: int = RADIUS,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Shares of the labels in one frame, (K, h, w), which sum to what they sum to in `labels`.

    Args:
        features: of the frame, (C, h, w), of unit length over C.
        others: the same of the frames that are looked at.
        labels: shares of the labels there, (K, h, w) each.
    """
    height, width = features.shape[1:]
    side = 2 * radius + 1
    outside = ~_inside(height, width, radius)
    found = [_similarities(features, other, radius).masked_fill_(outside, OUTSIDE) for other in others]
    similarity, place = torch.cat(found, dim=-1).topk(min(neighbours, len(others) * side**2), dim=-1, sorted=False)
    frame, offset = place // side**2, place % side**2
    # Only a picture smaller than `neighbours` places makes it take from outside, with a share of nothing.
    row = (torch.arange(height)[:, None, None] + offset // side - radius).clamp(0, height - 1)
    column = (torch.arange(width)[None, :, None] + offset % side - radius).clamp(0, width - 1)
    table = torch.stack(list(labels)).movedim(1, -1).flatten(0, 2)
    chosen = table[(frame * height + row) * width + column]
    return torch.einsum("hwn,hwnk->khw", torch.softmax(similarity / temperature, dim=-1), chosen)


def _similarities(features: Tensor, other: Tensor, radius: int) -> Tensor:
    """Inner products of each place with those around it in the other frame, (h, w, (2 radius + 1)^2)."""
    channels, height, width = features.shape
    side, seen, blocks = 2 * radius + 1, BLOCK + 2 * radius, -(-width // BLOCK)
    spare = blocks * BLOCK - width
    wide = F.pad(other, (radius, radius + spare, radius, radius)).unfold(2, seen, BLOCK)
    table = wide.permute(1, 2, 0, 3).contiguous()  # (h + 2 radius, blocks, C, seen)
    mine = F.pad(features, (0, spare)).permute(1, 2, 0).reshape(-1, BLOCK, channels)
    result = torch.empty(height, blocks, BLOCK, side, side)
    for row in range(side):
        # All places of a block with all that any of them sees of a row: one matrix product, of which a band is wanted.
        products = torch.bmm(mine, table[row : row + height].flatten(0, 1))
        strides = (blocks * BLOCK * seen, BLOCK * seen, seen + 1, 1)
        result[:, :, :, row] = products.as_strided((height, blocks, BLOCK, side), strides)
    return result.reshape(height, blocks * BLOCK, side * side)[:, :width]


def _inside(height: int, width: int, radius: int) -> Tensor:
    """Which of the places around each are in the picture, (h, w, (2 radius + 1)^2)."""
    around = torch.arange(-radius, radius + 1)
    rows, columns = torch.arange(height)[:, None] + around, torch.arange(width)[:, None] + around
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return (row_inside[:, None, :, None] & column_inside[None, :, None, :]).flatten(2)
