"""Labels that follow what looks alike: each place takes those of the most similar places nearby in other frames.

Label propagation as in the evaluation of self-supervised correspondence (Jabri et al. 2020, section 4): similarity of
unit features within a window, the most similar places of several frames, and a softmax over them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 6
"""Places, in each direction, over which a label may move from a frame that is looked at."""
NEIGHBOURS = 8
"""Most similar places that share in a label."""
TEMPERATURE = 0.07
"""Difference in similarity by which a neighbour's share falls to 1/e."""
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
    side, wide = 2 * radius + 1, width + 2 * radius
    rows = F.pad(other, (radius,) * 4).unfold(1, side, 1)  # (C, h, wide, side)
    table = rows.permute(1, 0, 3, 2).reshape(height, channels, side * wide)
    # All places of a row with all of the rows around it is one matrix product; of it a band is wanted.
    products = features.permute(1, 2, 0) @ table
    band = products.as_strided((height, width, side, side), (width * side * wide, side * wide + 1, wide, 1))
    return band.reshape(height, width, side * side)


def _inside(height: int, width: int, radius: int) -> Tensor:
    """Which of the places around each are in the picture, (h, w, (2 radius + 1)^2)."""
    around = torch.arange(-radius, radius + 1)
    rows, columns = torch.arange(height)[:, None] + around, torch.arange(width)[:, None] + around
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return (row_inside[:, None, :, None] & column_inside[None, :, None, :]).flatten(2)
