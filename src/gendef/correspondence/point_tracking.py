"""Point tracking through a video without a fit: optical flow, network features and template matching.

Flow is accurate between neighbouring frames and drifts over many; network features recognise a point after many frames,
but only to the precision of a feature cell. A Bayes filter combines both: flow predicts the position and adds variance;
the similarity of the surrounding features to those of the given point reduces it. If the template around the given
point matches (Lucas and Kanade 1981), the match replaces the position.
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
from gendef.geometry.sampling import sample
from gendef.optical_flow.consistency import flow_trust
from gendef.optical_flow.dis import FlowMethod, dis_flow
from gendef.optical_flow.pairwise_flow import compute_flow
from gendef.video.point_tracks import checked_points

FLOW_VARIANCE = 0.01
"""Variance that the flow of one frame adds, in squared feature cells (a cell is 1/60 of the shorter side)."""
TRUST_VARIANCE = 0.1
"""Variance that is added per unit of -log(trust) of the flow, in squared cells."""
LEAST_TRUST = 1e-6
"""Lower limit of the trust."""
REACH = 6
"""Radius of the search window around the predicted position, in cells."""
LIKENESS = 0.1
"""Difference in cosine similarity that changes the likelihood by a factor of e."""
FEATURE_VARIANCE = 0.25
"""Variance of a position found by features, in squared cells."""
CHUNK = 256
"""Points that are compared at once; each needs 100 kB."""
MATCH_RADIUS = 1.5
"""Largest correction of a position by template matching, in cells."""
MATCH_VARIANCE = 0.01
"""Variance of a matched position, in squared cells."""
LOST = 0.2
"""Cosine similarity to the given point's features below which a point counts as occluded. Three in four positions of
unrelated clips have a smaller one."""


@dataclass(frozen=True)
class FollowedPoints:
    """Tracks of N points through T frames.

    Attributes:
        points: (N, 2), the given points.
        positions: (N, T, 2), x then y in pixels of the frames; an estimate where `visible` is False, possibly
            outside the frame.
        visible: (N, T), False outside the frame and where the features do not match.
        deviation: (N, T), standard deviation of the position along x and y in pixels, estimated by the filter.
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
    """Track points of one frame through all others, outwards from it.

    Args:
        frames: uint8 (H, W, 3), all of one size.
        points: (N, 2), x then y in pixels of the frames, the centre of the top-left pixel at 0, 0.
        frame: index of the frame of the points.
        flow: optical flow method; default OpenCV's DIS; see `gendef.optical_flow.dis.FlowMethod`.
        features: feature extractor; default EfficientNet-Lite0, as in `gendef.correspondence.mask_propagation`.
        on_frame: called after every frame.

    Raises:
        InputError: there is no such frame, the points are not finite or outside it, or `flow` returns no flow.
        MissingDependencyError: OpenCV, or without `features` the network's weights, are not installed.
    """
    if not 0 <= frame < len(frames):
        raise InputError(f"there is no frame {frame}: the video has {len(frames)} (0 to {len(frames) - 1})")
    size = (frames[0].shape[0], frames[0].shape[1])
    given = checked_points(points, size, f"frame {frame}")
    found, motion = features or efficientnet_features(purpose="to track points"), flow or dis_flow()
    first, texture = F.normalize(found(frames[frame]), dim=0), Texture(frames[frame], given)
    place = torch.tensor([size[1] / first.shape[2], size[0] / first.shape[1]])
    wanted = F.normalize(sample(first, (given + 0.5) / place - 0.5, units="pixels"), dim=0)
    positions = given[:, None].repeat(1, len(frames), 1)
    visible = torch.ones(len(given), len(frames), dtype=torch.bool)
    deviation = torch.zeros(len(given), len(frames))
    for order in (range(frame + 1, len(frames)), range(frame - 1, -1, -1)):
        here, variance = given, torch.zeros(len(given))
        for t in order:
            moved, doubt = _moved(motion, frames[t - order.step], frames[t], here)
            prior, spread = (moved + 0.5) / place - 0.5, variance + FLOW_VARIANCE + TRUST_VARIANCE * doubt
            mean, variance, likeness = update_with_features(wanted, F.normalize(found(frames[t]), dim=0), prior, spread)
            here = (mean + 0.5) * place - 0.5
            here, fits = texture.match(frames[t], here, MATCH_RADIUS * float(place.min()), (moved,))
            variance = torch.where(fits, MATCH_VARIANCE, variance)
            positions[:, t], deviation[:, t] = here, variance.sqrt() * place.prod().sqrt()
            inside = (here > -0.5) & (here < torch.tensor([size[1], size[0]]) - 0.5)
            visible[:, t] = inside.all(dim=1) & (likeness >= LOST)
            on_frame()
    return FollowedPoints(given, positions, visible, deviation)


def _moved(method: FlowMethod, frame: np.ndarray, following: np.ndarray, points: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, 2) moved by the flow, and -log(trust) of the flow at each point, (N,)."""
    there, back = compute_flow(method, frame, following), compute_flow(method, following, frame)
    read = sample(torch.cat((there, flow_trust(there, back)[None])), points, units="pixels")
    return points + read[:2].T, -read[2].clamp(min=LEAST_TRUST).log()


def update_with_features(
    wanted: Tensor, features: Tensor, prior: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Update predicted positions by the similarity of the features around them (the filter's measurement step).

    Args:
        wanted: (C, N), features of the given points, of unit length over C.
        features: (C, h, w), features of a frame, of unit length over C.
        prior: (N, 2), predicted positions, x and y in feature cells.
        variance: (N,), variance of the prediction along each axis, in squared cells.

    Returns:
        Posterior mean (N, 2) and variance (N,), which is at most the prior's, and expected cosine similarity (N,). A
        measured position has the variance `FEATURE_VARIANCE`.
    """
    parts = [part.split(CHUNK, dim=dim) for part, dim in ((wanted, 1), (prior, 0), (variance, 0))]
    found = [_update_with_features(one, features, *others) for one, *others in zip(*parts, strict=True)]
    mean, after, cosine = (torch.cat(part) for part in zip(*found, strict=True))
    return mean, after, cosine


def _update_with_features(
    wanted: Tensor, features: Tensor, prior: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = features.shape[1:]
    around = torch.arange(-REACH, REACH + 1)
    down, across = (offsets.flatten() for offsets in torch.meshgrid(around, around, indexing="ij"))
    nearest = prior.round().long()
    column, row = nearest[:, :1] + across, nearest[:, 1:] + down
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    cosine = torch.einsum("cnk,cn->nk", features.flatten(1)[:, index], wanted)
    cosine = torch.where(inside, cosine, LOST)  # unknown outside the image
    x, y = column - prior[:, :1], row - prior[:, 1:]
    likely = cosine / LIKENESS - (x.square() + y.square()) / (2 * (variance + FEATURE_VARIANCE))[:, None]
    share = torch.softmax(likely, dim=1)
    shift = torch.stack(((share * x).sum(dim=1), (share * y).sum(dim=1)), dim=1)
    spread = (share * ((x - shift[:, :1]).square() + (y - shift[:, 1:]).square())).sum(dim=1) / 2
    # Kalman gain: a prediction more precise than the features hardly changes.
    gain = variance / (variance + FEATURE_VARIANCE)
    after = torch.minimum(variance, gain.square() * spread + FEATURE_VARIANCE * gain)
    return prior + gain[:, None] * shift, after, (share * cosine).sum(dim=1)
