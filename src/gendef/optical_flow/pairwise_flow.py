"""Optical flow between the frames of a clip, with trust weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample
from gendef.optical_flow.consistency import flow_trust
from gendef.optical_flow.dis import FlowMethod

INTERVALS = (1, 4)
"""Frame intervals over which flow is computed, 1 first. Chains of longer intervals drift less; flow over shorter ones
is more reliable."""
CHAIN_TOLERANCE = 2.0
"""Distance, in pixels, between a flow over several frames and the chain of single-frame flows at which trust falls to
1/e."""


@dataclass(frozen=True)
class Flows:
    """Optical flow between the frames of a clip at a fixed interval.

    Attributes:
        forward, backward: from frame t to t + interval and from there back, (T - interval, 2, H, W) in pixels.
        forward_trust, backward_trust: (T - interval, H, W) in [0, 1], see `flow_trust`.
        interval: in frames.
    """

    forward: Tensor
    backward: Tensor
    forward_trust: Tensor
    backward_trust: Tensor
    interval: int = 1

    def between(self, t: int, other: int) -> tuple[Tensor, Tensor]:
        """Flow from frame t to frame `other`, which lies `interval` before or after it, and its trust."""
        if other > t:
            return self.forward[t], self.forward_trust[t]
        return self.backward[other], self.backward_trust[other]


def compute_flows(
    frames: Sequence[np.ndarray], method: FlowMethod, interval: int = 1, on_pair: Callable[[], None] = lambda: None
) -> Flows:
    """Flow between frames `interval` apart, with trust by forward-backward consistency.

    Raises:
        InputError: the method returns another shape, or values that are not finite.
    """
    height, width = frames[0].shape[:2]
    count = max(len(frames) - interval, 0)
    flows, trusts = torch.empty(2, count, 2, height, width), torch.empty(2, count, height, width)
    for t in range(count):
        for store, pair in zip(flows, ((t, t + interval), (t + interval, t)), strict=True):
            store[t] = compute_flow(method, frames[pair[0]], frames[pair[1]])
        there, back = flows[:, t]
        trusts[0, t], trusts[1, t] = flow_trust(there, back), flow_trust(back, there)
        on_pair()
    return Flows(flows[0], flows[1], trusts[0], trusts[1], interval)


def compute_flow(method: FlowMethod, first: np.ndarray, second: np.ndarray) -> Tensor:
    """Flow from one frame to another, (2, H, W) in pixels.

    Raises:
        InputError: the method returns another shape, or values that are not finite.
    """
    flow, (height, width) = np.asarray(method(first, second), np.float32), first.shape[:2]
    if flow.shape != (height, width, 2) or not np.isfinite(flow).all():
        raise InputError(f"the flow method gave {flow.shape} for frames of {height}x{width}, or infinite values")
    return torch.from_numpy(flow).movedim(-1, 0)


def all_flows(
    frames: Sequence[np.ndarray], method: FlowMethod, on_share: Callable[[float], None] = lambda share: None
) -> list[Flows]:
    """Flow over each of the `INTERVALS`, 1 first; `on_share` is called with the finished share of the work."""
    pairs, total = 0, sum(max(len(frames) - interval, 0) for interval in INTERVALS)

    def on_pair() -> None:
        nonlocal pairs
        pairs += 1
        on_share(pairs / total)

    near, *far = (compute_flows(frames, method, interval, on_pair) for interval in INTERVALS)
    return [near, *(weighted_by_chain(one, near) for one in far)]


def weighted_by_chain(far: Flows, near: Flows) -> Flows:
    """Flow over several frames, its trust weighted by its agreement with the single-frame flows that it spans.

    Over a fast pan, flow over several frames is easily wrong although forward and backward flow agree.

    Args:
        near: between neighbouring frames.
    """
    grid = pixel_grid(far.forward.shape[2], far.forward.shape[3])
    trusts = far.forward_trust.clone(), far.backward_trust.clone()
    for t in range(len(far.forward)):
        for trust, here, there in ((trusts[0], t, t + far.interval), (trusts[1], t + far.interval, t)):
            places, sure = grid, torch.ones_like(trust[t])
            step = 1 if there > here else -1
            for frame in range(here, there, step):
                flow, known = near.between(frame, frame + step)
                sure = sure * sample(known[None], places.movedim(0, -1), units="pixels")[0]
                places = places + sample(flow, places.movedim(0, -1), units="pixels")
            gap = (grid + far.between(here, there)[0] - places).square().sum(dim=0)
            trust[t] *= sure * torch.exp(-gap / CHAIN_TOLERANCE**2)
    return Flows(far.forward, far.backward, *trusts, far.interval)
