"""A mask of one frame carried through a video that has not been fitted: labels follow features that look alike."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.correspondence.label_propagation import matched_labels
from gendef.errors import InputError
from gendef.networks.efficientnet_lite0 import load_efficientnet_lite0
from gendef.video.label_transfer import fitting_labels, resized_labels

FEATURE_SIDE = 960
"""Shorter side at which a frame is shown to the feature network, in pixels."""
STRIDE = 32
"""Sides of the picture that the network sees are multiples of this."""
RECENT = 8
"""Frames nearer to the one with the mask that are looked at, beside that one."""
MOST_LABELS = 20
"""Labels that are followed at most, the background not counted."""

FeatureMap = Callable[[np.ndarray], Tensor]
"""A frame, uint8 (H, W, 3) -> features of places spread evenly over it, (C, h, w)."""


@torch.no_grad()
def propagate(
    frames: Sequence[np.ndarray],
    mask: Any,
    frame: int = 0,
    features: FeatureMap | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Tensor:
    """Carry a mask or a label map of one frame to all others.

    Outwards from the given frame, each place of a frame takes the labels of the places nearby that look most like it in
    the given frame and the `RECENT` ones done before it (see `gendef.correspondence.label_propagation`). No motion
    model is used, so that an object may turn and bend. An occluded object is recovered if it reappears within `RECENT`
    frames, or near its place in the given frame. What is smaller than half a place of the features is lost.

    Args:
        frames: uint8 (H, W, 3), all of one size.
        mask: as for `gendef.video.label_transfer.segment`.
        frame: the number of the frame on which it lies.
        features: of a frame; default those of EfficientNet-Lite0 (Tan and Le 2019) at strides 8 and 16, of the frame
            and its mirror image.
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
    given = resized_labels(fitting_labels(mask, size, f"frame {frame}"), size)
    values = given.unique()
    count = int((values != 0).sum())
    if count == 0:
        raise InputError(f"the mask is empty at {size[1]}x{size[0]} pixels: nothing is to be followed")
    if count > MOST_LABELS:
        raise InputError(f"the mask holds {count} labels: at most {MOST_LABELS} can be followed")
    found = features or efficientnet_features(mirrored=True)
    result = given.expand(len(frames), *size).clone()
    first = _unit(found(frames[frame]))
    shares = F.interpolate((given == values[:, None, None])[None].float(), size=first.shape[1:], mode="area")[0]
    for order in (range(frame + 1, len(frames)), range(frame - 1, -1, -1)):
        recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=RECENT)
        for t in order:
            here = _unit(found(frames[t]))
            others, known = zip((first, shares), *recent, strict=True)
            labels = matched_labels(here, others, known)
            recent.append((here, labels))
            # Cubic, for straight ones make corners at every place of the features.
            fine = F.interpolate(labels[None], size=size, mode="bicubic")[0]
            result[t] = values[fine.argmax(dim=0)]
            on_frame()
    return result


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features, dim=0)


def efficientnet_features(
    side: int = FEATURE_SIDE, purpose: str = "to follow a mask through a video", mirrored: bool = False
) -> FeatureMap:
    """Features of EfficientNet-Lite0 at strides 8 and 16, on the raster of stride 16.

    Each is freed of its mean over the frame and brought to unit length, and both count alike. With `mirrored` the
    result is a sum of two such features.

    Args:
        side: shorter side at which the network sees a frame, in pixels; more is finer, and slower.
        purpose: what they are for, if the error has to say it.
        mirrored: add the features of the mirror image at the same places, for twice the time: what depends on the
            direction in which a thing looks, and on where the network's raster begins, evens out.

    Returns:
        A function from a frame to (152, h, w), h and w a sixteenth of what the network sees.

    Raises:
        MissingDependencyError: the package with its weights is not installed.
    """
    network = load_efficientnet_lite0(extra="fit", purpose=purpose)

    def looked(picture: Tensor) -> Tensor:
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
        found = looked(picture)
        return found + looked(picture.flip(-1)).flip(-1) if mirrored else found

    return features
