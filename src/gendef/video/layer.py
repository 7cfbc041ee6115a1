"""A layer of a clip: a canonical image, its deformation field and its alpha.

A moving person and the background cannot share one canonical image without tearing; as two layers they need not.
Segments of a long clip are layers that begin and end, with a cross-fade where they overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

SHOWN = 0.5
"""A pixel belongs to a layer where the layer's alpha is at least this."""


class MovingImage(Protocol):
    """The video of a layer; `gendef.CanonicalVideo` implements it."""

    canonical: Tensor
    visibility: Tensor | None

    @property
    def deformation(self) -> Tensor:
        """The field, (n, H, W, 2)."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""

    def filtered_canonical(self, size: tuple[int, int]) -> Tensor:
        """The canonical image as it is sampled for frames of `size`."""

    def warped(self, canonical: Tensor, frames: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Frames (n, 3, H, W) of `size`."""


ImageT_co = TypeVar("ImageT_co", bound=MovingImage, covariant=True)


@dataclass(frozen=True)
class Layer(Generic[ImageT_co]):
    """One canonical image with its motion and alpha.

    Attributes:
        video: of n frames.
        alpha: (n, H, W) uint8, 255 where the layer is opaque; None: opaque everywhere.
        start: number of the clip's frame at which the layer begins; outside its n frames it is invisible.
        name: layers of one name are parts in time of the same object; points, masks and edits pass from one to the next
            where they overlap.
    """

    video: ImageT_co
    alpha: Tensor | None = None
    start: int = 0
    name: str = "background"

    @property
    def end(self) -> int:
        """Number of the frame after the last."""
        return self.start + self.video.num_frames

    @property
    def canonical_size(self) -> tuple[int, int]:
        """Height and width of the canonical image."""
        return self.video.canonical.shape[1], self.video.canonical.shape[2]

    def opacity(self, frame: int) -> Tensor:
        """Alpha in a frame of the clip, (H, W) in [0, 1]."""
        if not self.start <= frame < self.end:
            return torch.zeros(self.video.size)
        if self.alpha is None:
            return torch.ones(self.video.size)
        return self.alpha[frame - self.start].float() / 255


Layers = Sequence[Layer[Any]]
"""The layers of a clip, the first at the back."""


def owners(layers: Layers, frame: int) -> Tensor:
    """Index of the topmost visible layer at each pixel of a frame, (H, W) int64; -1 where there is none."""
    owner = torch.full(layers[0].video.size, -1)
    for number, layer in enumerate(layers):
        if layer.start <= frame < layer.end:
            owner[layer.opacity(frame) >= SHOWN] = number
    return owner


def parts(layers: Layers, name: str) -> list[int]:
    """Numbers of the layers of one name, in the order of time: by the middle of their frames."""
    mine = [number for number, layer in enumerate(layers) if layer.name == name]
    return sorted(mine, key=lambda number: layers[number].start + layers[number].end)


def shown_by(layers: Layers, owner: Tensor, name: str) -> Tensor:
    """Pixels (H, W) that layers of one name show, by the numbers of the layers that show in a frame (H, W)."""
    own = torch.tensor([layer.name == name for layer in layers])
    return own[owner.clamp(min=0)] & (owner >= 0)


def frame_count(layers: Layers) -> int:
    """Number of frames, to the end of the layer that ends last."""
    return max(layer.end for layer in layers)
