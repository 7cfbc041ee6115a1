"""Points followed through a video that has not been fitted: by flow, features, and their own texture.

Flow is exact from one frame to the next and drifts over many; features of a network know a place again after many
frames, but only roughly. A Bayes filter takes both: flow moves a point and makes its place less sure, and the likeness
of the features around it to those of the point where it was given makes it surer. Where the texture around the point
still fits that of the given frame, it decides on the position (Lucas and Kanade 1981).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.correspondence.lucas_kanade import Texture
from gendef.correspondence.mask_propagation import FeatureMap, efficientnet_features
from gendef.errors import InputError
from gendef.geometry.sampling import look_up
from gendef.optical_flow.consistency import flow_trust
from gendef.optical_flow.dis import FlowMethod, dis_flow
from gendef.optical_flow.pairwise_flow import found_flow
from gendef.video.point_tracks import checked_points

HOP = 0.01
"""Variance that the flow of one frame adds, in squared places of the features (sixtieths of the shorter side)."""
DOUBT = 0.1
"""The same for each factor of e by which trust in the flow falls short of 1."""
LEAST_TRUST = 1e-6
"""Less trust counts as this."""
REACH = 6
"""Places around, in each direction, that are compared with the point."""
LIKENESS = 0.1
"""Difference in the cosine of two features by which a place is less likely by a factor of e."""
ROUGH = 0.25
"""Squared places by which a place found by features may be wrong at least."""
CHUNK = 256
"""Points whose surroundings are compared at once: each takes 100 kB for it."""
NEAR = 1.5
"""Places over which texture may move a point."""
FINE = 0.01
"""Squared places by which a place found by texture may be wrong."""
LOST = 0.2
"""Cosine of the features at a point's place with those where it was given, below which it counts as hidden:
three in four places of another clip are below."""


@dataclass(frozen=True)
class FollowedPoints:
    """Where N points are in T frames.

    Attributes:
        points: (N, 2), as they were given.
        positions: (N, T, 2), x then y in pixels of the frames; where `visible` is False a guess, maybe outside.
        visible: (N, T), False outside the picture and where nothing looks like the point.
        deviation: (N, T), standard deviation of the position along x and y in pixels, as the filter believes.
    """

    points: Tensor
    positions: Tensor
    visible: Tensor
    deviation: Tensor


@torch.no_grad()
def follow_points(
    frames: Sequence[np.ndarray],
    points: Any,
    frame: int = 0,
    flow: FlowMethod | None = None,
    features: FeatureMap | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> FollowedPoints:
    """Follow points of one frame to all others, outwards from it.

    Args:
        frames: uint8 (H, W, 3), all of one size.
        points: (N, 2), x then y in pixels of the frames, the centre of the top-left pixel at 0, 0.
        frame: the number of the frame on which they lie.
        flow: default OpenCV's DIS; see `gendef.optical_flow.dis.FlowMethod`.
        features: of a frame; default those of EfficientNet-Lite0, as in `gendef.correspondence.mask_propagation`.
        on_frame: called after every frame.

    Raises:
        InputError: there is no such frame, the points are not finite or outside it, or `flow` returns no flow.
        MissingDependencyError: OpenCV, or without `features` the network's weights, are not installed.
    """
    if not 0 <= frame < len(frames):
        raise InputError(f"there is no frame {frame}: the video has {len(frames)} (0 to {len(frames) - 1})")
    size = (frames[0].shape[0], frames[0].shape[1])
    given = checked_points(points, size, f"frame {frame}")
    found, motion = features or efficientnet_features(purpose="to follow points"), flow or dis_flow()
    first, texture = F.normalize(found(frames[frame]), dim=0), Texture(frames[frame], given)
    place = torch.tensor([size[1] / first.shape[2], size[0] / first.shape[1]])
    wanted = F.normalize(look_up(first, _at((given + 0.5) / place - 0.5))[:, :, 0], dim=0)
    positions = given[:, None].repeat(1, len(frames), 1)
    visible = torch.ones(len(given), len(frames), dtype=torch.bool)
    deviation = torch.zeros(len(given), len(frames))
    for order in (range(frame + 1, len(frames)), range(frame - 1, -1, -1)):
        here, variance = given, torch.zeros(len(given))
        for t in order:
            moved, doubt = _moved(motion, frames[t - order.step], frames[t], here)
            prior, spread = (moved + 0.5) / place - 0.5, variance + HOP + DOUBT * doubt
            mean, variance, likeness = recognised(wanted, F.normalize(found(frames[t]), dim=0), prior, spread)
            here = (mean + 0.5) * place - 0.5
            here, fits = texture.laid_onto(frames[t], here, NEAR * float(place.min()), (moved,))
            variance = torch.where(fits, FINE, variance)
            positions[:, t], deviation[:, t] = here, variance.sqrt() * place.prod().sqrt()
            inside = (here > -0.5) & (here < torch.tensor([size[1], size[0]]) - 0.5)
            visible[:, t] = inside.all(dim=1) & (likeness >= LOST)
            on_frame()
    return FollowedPoints(given, positions, visible, deviation)


def _at(points: Tensor) -> Tensor:
    """Points (N, 2) as a picture of places (2, N, 1)."""
    return points.T[:, :, None]


def _moved(method: FlowMethod, frame: np.ndarray, following: np.ndarray, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where flow takes points (N, 2), and how far there and back disagree, as the negative logarithm of its trust."""
    there, back = found_flow(method, frame, following), found_flow(method, following, frame)
    read = look_up(torch.cat((there, flow_trust(there, back)[None])), _at(points))[:, :, 0]
    return points + read[:2].T, -read[2].clamp(min=LEAST_TRUST).log()


def recognised(wanted: Tensor, features: Tensor, prior: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where features are found again around places where they should be.

    Args:
        wanted: (C, N), of unit length over C.
        features: of a frame, (C, h, w), the same.
        prior: (N, 2), x and y in places of the frame.
        variance: (N,), squared places by which they may be wrong, along each axis.

    Returns:
        Mean (N, 2) and variance (N,), not more than before, given what is seen, and the expected cosine (N,). What is
        seen at a place is taken for what is around it with variance `ROUGH`.
    """
    parts = [part.split(CHUNK, dim=dim) for part, dim in ((wanted, 1), (prior, 0), (variance, 0))]
    found = [_recognised(one, features, *others) for one, *others in zip(*parts, strict=True)]
    mean, after, cosine = (torch.cat(part) for part in zip(*found, strict=True))
    return mean, after, cosine


def _recognised(wanted: Tensor, features: Tensor, prior: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    height, width = features.shape[1:]
    around = torch.arange(-REACH, REACH + 1)
    down, across = (offsets.flatten() for offsets in torch.meshgrid(around, around, indexing="ij"))
    nearest = prior.round().long()
    column, row = nearest[:, :1] + across, nearest[:, 1:] + down
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    cosine = torch.einsum("cnk,cn->nk", features.flatten(1)[:, index], wanted)
    cosine = torch.where(inside, cosine, LOST)  # beyond the picture may be anything, the point too
    x, y = column - prior[:, :1], row - prior[:, 1:]
    likely = cosine / LIKENESS - (x.square() + y.square()) / (2 * (variance + ROUGH))[:, None]
    share = torch.softmax(likely, dim=1)
    shift = torch.stack(((share * x).sum(dim=1), (share * y).sum(dim=1)), dim=1)
    spread = (share * ((x - shift[:, :1]).square() + (y - shift[:, 1:]).square())).sum(dim=1) / 2
    # What is surer than features can be is hardly moved by them.
    gain = variance / (variance + ROUGH)
    after = torch.minimum(variance, gain.square() * spread + ROUGH * gain)
    return prior + gain[:, None] * shift, after, (share * cosine).sum(dim=1)
