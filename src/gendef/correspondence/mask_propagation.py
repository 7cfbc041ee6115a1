"""Propagation of a mask through a video without a fit, by similarity of network features."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.correspondence.label_propagation import propagate_labels
from gendef.errors import InputError
from gendef.networks.efficientnet_lite0 import load_efficientnet_lite0
from gendef.video.label_transfer import labels_for_size, resized_labels

FEATURE_SIDE = 960
"""Shorter side of the feature network's input, in pixels."""
STRIDE = 32
"""The sides of the network's input are multiples of this."""
RECENT = 8
"""Number of previously labelled frames that are used besides the frame with the mask."""
MOST_LABELS = 20
"""Largest number of labels without the background."""

FeatureMap = Callable[[np.ndarray], Tensor]
"""A frame, uint8 (H, W, 3) -> a feature map (C, h, w) on a regular grid of cells."""


@torch.no_grad()
def propagate_mask(
    frames: Sequence[np.ndarray],
    mask: Any,
    frame: int = 0,
    features: FeatureMap | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Tensor:
    """Propagate a mask or a label map of one frame to all others.

    Outwards from the given frame, each feature cell takes the labels of the most similar cells in the given frame and
    in the `RECENT` frames labelled last (see `gendef.correspondence.label_propagation`). There is no motion model, so
    objects may rotate and deform. An occluded object is recovered if it reappears within `RECENT` frames, or near its
    position in the given frame. Objects smaller than half a feature cell are lost.

    Args:
        frames: uint8 (H, W, 3), all of one size.
        mask: as for `gendef.video.label_transfer.segment`.
        frame: index of the frame of the mask.
        features: feature extractor; default EfficientNet-Lite0 (Tan and Le 2019) at strides 8 and 16, averaged over the
            frame and its mirror image.
        on_frame: called after every frame.

    Returns:
        (T, H, W), bool for a mask, else labels in the integer type that was given; frame `frame` as given.

    Raises:
        InputError: there is no such frame, the mask does not fit or is empty, or has more than `MOST_LABELS` labels.
        MissingDependencyError: without `features`, the package with the network's weights is not installed.
    """
    if not 0 <= frame < len(frames):
        raise InputError(f"there is no frame {frame}: the video has {len(frames)} (0 to {len(frames) - 1})")
    size = (frames[0].shape[0], frames[0].shape[1])
    given = resized_labels(labels_for_size(mask, size, f"frame {frame}"), size)
    values = given.unique()
    count = int((values != 0).sum())
    if count == 0:
        raise InputError(f"the mask is empty at {size[1]}x{size[0]} pixels: it has no foreground")
    if count > MOST_LABELS:
        raise InputError(f"the mask holds {count} labels: at most {MOST_LABELS} can be propagated")
    found = features or efficientnet_features(mirrored=True)
    result = given.expand(len(frames), *size).clone()
    first = _unit(found(frames[frame]))
    shares = F.interpolate((given == values[:, None, None])[None].float(), size=first.shape[1:], mode="area")[0]
    for order in (range(frame + 1, len(frames)), range(frame - 1, -1, -1)):
        recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=RECENT)
        for t in order:
            here = _unit(found(frames[t]))
            others, known = zip((first, shares), *recent, strict=True)
            labels = propagate_labels(here, others, known)
            recent.append((here, labels))
            # Bicubic: bilinear interpolation makes corners in the outline at every cell.
            fine = F.interpolate(labels[None], size=size, mode="bicubic")[0]
            result[t] = values[fine.argmax(dim=0)]
            on_frame()
    return result


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features, dim=0)


def efficientnet_features(
    side: int = FEATURE_SIDE, purpose: str = "to propagate a mask through a video", mirrored: bool = False
) -> FeatureMap:
    """A feature extractor: EfficientNet-Lite0 at strides 8 and 16, on the grid of stride 16.

    The features of each stride are centred (mean over the frame subtracted) and normalised to unit length.

    Args:
        side: shorter side of the network's input, in pixels; a larger one is finer and slower.
        purpose: named in the error if the weights are missing.
        mirrored: add the features of the mirror image at the same positions, at twice the time. That averages out
            their dependence on left and right and on the phase of the network's grid.

    Returns:
        A function from a frame to (152, h, w), with h and w a sixteenth of the network's input.

    Raises:
        MissingDependencyError: the package with its weights is not installed.
    """
    network = load_efficientnet_lite0(extra="fit", purpose=purpose)

    def extract(picture: Tensor) -> Tensor:
        maps = network(picture, levels=3)
        raster = maps[2].shape[2:]
        levels = [F.interpolate(one, size=raster, mode="area")[0] for one in maps[1:3]]
        return torch.cat([_unit(one - one.mean(dim=(1, 2), keepdim=True)) for one in levels])

    @torch.inference_mode()
    def features(frame: np.ndarray) -> Tensor:
        picture = torch.from_numpy(np.array(frame)).movedim(-1, 0)[None].float() / 127.5 - 1
        scale = side / min(frame.shape[:2]) / STRIDE
        seen = tuple(max(round(length * scale), 1) * STRIDE for length in frame.shape[:2])
        picture = F.interpolate(picture, size=seen, mode="bicubic", antialias=True)
        found = extract(picture)
        return found + extract(picture.flip(-1)).flip(-1) if mirrored else found

    return features
