"""Penalties on deformation fields: smoothness in time and space, folding, speed."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.geometry import jacobian_determinant


def edge_weights(image: Tensor, sharpness: float = 10.0) -> Tensor:
    """exp(-sharpness * |gradient|) of images (B, 3, H, W) in [0, 1] units: near 1 in uniform regions. (B, H, W)."""
    horizontal = F.pad(image.diff(dim=-1).abs().mean(dim=1), (0, 1))
    vertical = F.pad(image.diff(dim=-2).abs().mean(dim=1), (0, 0, 0, 1))
    return torch.exp(-sharpness / 2 * (horizontal + vertical))


def temporal_smoothness(near: Tensor, frames: Tensor) -> Tensor:
    """Structural temporal smoothness (GenDeF, equation 4): neighbouring flows agree, except across image edges.

    Args:
        near: fields at t, t + 1 and t + 2, (B, 3, H, W, 2), normalised units.
        frames: the frames at t, (B, 3, H, W), for the edge weights; they get no gradient.

    Returns:
        Mean over pixels of edge weight * |flow(t + 1) - flow(t)|, flows in normalised units.
    """
    flows = near.diff(dim=1)
    change = (flows[:, 1] - flows[:, 0]).abs().sum(dim=-1)
    return (edge_weights(frames.detach()) * change).mean()


def spatial_smoothness(deformation: Tensor) -> Tensor:
    """Mean squared second difference of fields (B, T, H, W, 2) along both axes, in pixels.

    Affine motion costs nothing.
    """
    pixels = deformation * (deformation.shape[-2] / 2)
    return pixels.diff(n=2, dim=-2).square().mean() + pixels.diff(n=2, dim=-3).square().mean()


def slowness_penalty(near: Tensor, least: float, mean: Callable[[Tensor], Tensor] = lambda speed: speed) -> Tensor:
    """How far the mean speed of a batch falls below `least`: (1 - speed / least)^2 below, 0 above.

    It applies to the mean of the batch; single videos may be slower.

    Args:
        near: fields at neighbouring frames, (B, T >= 2, H, W, 2), normalised units.
        least: pixels a frame, positive.
        mean: averages a value over the processes that share a batch.
    """
    speed = mean(near.diff(dim=1).norm(dim=-1).mean() * (near.shape[-2] / 2))
    return F.relu(1 - speed / least).square()


def folding_penalty(deformation: Tensor, floor: float = 0.2) -> Tensor:
    """Mean amount by which the sampling map's area factor falls below `floor`; it penalises folding and collapse."""
    return F.relu(floor - jacobian_determinant(deformation)).mean()


@torch.no_grad()
def field_statistics(fields: Tensor, near: Tensor) -> dict[str, Tensor]:
    """Mean size of fields and of their change a frame, in pixels, and the share of folded area."""
    pixels = fields.shape[-2] / 2
    flow = near.diff(dim=1)[:, :1] if near.shape[1] > 1 else fields.diff(dim=1) * 0
    return {
        "field_pixels": fields.norm(dim=-1).mean() * pixels,
        "flow_pixels": flow.norm(dim=-1).mean() * pixels,
        "folded": (jacobian_determinant(fields) <= 0).float().mean(),
    }
