"""A motion prior of a few synthetic motions: drifts, zooms and waves."""

import torch

from gendef.animation.prior import MotionPrior
from gendef.geometry import identity_grid
from gendef.networks.motion_prior import MotionPriorConfig


def synthetic_motions(keys: tuple[float, ...], grid: int) -> torch.Tensor:
    """Fields (N, K, grid, grid, 2) of a few motions, zero at time 0."""
    time = torch.tensor(keys)[:, None, None, None] / max(keys)
    place = identity_grid(grid, grid)
    drift = [time * torch.tensor([x, y]).expand(grid, grid, 2) for x, y in ((0.2, 0.0), (0.0, 0.1))]
    zoom = [time * place * 0.1]
    faster_above = [time * (1 - place[..., 1:]) * torch.tensor([0.1, 0.0])]
    wave = [time * 0.03 * torch.sin(3 * place.flip(-1))]
    return torch.stack([*drift, *zoom, *faster_above, *wave])


def tiny_prior(
    grid: int = 8, keys: tuple[float, ...] = (-8.0, -4.0, 0.0, 4.0, 8.0), moving: float = 3.0
) -> MotionPrior:
    """A prior whose motions are random mixtures of the synthetic ones.

    Args:
        moving: logit of the map of what moves, everywhere.
    """
    torch.manual_seed(0)
    motions = synthetic_motions(keys, grid).flatten(1)
    _, deviations, directions = torch.linalg.svd(motions, full_matrices=False)
    config = MotionPriorConfig(
        key_times=keys,
        grid=grid,
        moving_grid=8,
        components=len(motions),
        feature_components=2,
        width=16,
        blocks=1,
        condition=8,
        labels=("sky", "water"),
    )
    prior = MotionPrior(config)
    prior.motion_basis.directions.copy_(directions)
    prior.motion_basis.deviations.copy_(deviations / len(motions) ** 0.5)
    prior.motion_basis.log_speed.copy_(torch.tensor([0.0, 0.1]))
    torch.nn.init.zeros_(prior.moving_map.out.weight)
    torch.nn.init.constant_(prior.moving_map.out.bias, moving)
    return prior.eval().requires_grad_(False)
