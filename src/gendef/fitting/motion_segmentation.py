"""Finding what moves of itself: where flow deviates from the camera's motion, cleaned over time and by colour."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.camera import common_motion
from gendef.geometry.sampling import look_up, pixel_grid
from gendef.optical_flow.pairwise_flow import Flows
from gendef.runtime.optional_imports import import_cv2

MEMORY = 0.8
"""How much of a pixel's evidence goes on to the next frame."""
LEAST = 0.35
"""Pixels a frame that a thing's motion deviates, at least."""
ABOVE_NOISE = 4.0
"""How many times more than the median pixel of its frame a thing deviates, at least."""
SURE = 2.0
"""Evidence, against the least, from which on a pixel surely belongs to a thing that moves."""
SMALLEST = 0.002
"""Share of the picture that a thing covers, at least."""
LARGEST = 0.6
"""Share of the picture beyond which what moves is the scene and not a thing before it."""
NEAR = 0.03
"""Share of the picture's shorter side around what moves in which colours decide."""
COLOURED = 2
"""Rounds of GrabCut."""


class NothingMoves(InputError):
    """Nothing moves before the background, or nearly everything does."""


def moving_things(pictures: list[np.ndarray], flows: Flows, seed: int) -> Tensor:
    """Where something moves before the background, (T, H, W) uint8: 1 there, else 0.

    The motion of the camera is a homography between neighbouring frames. How far flow deviates from it is summed along
    the flow over the frames before and after, so that a thing that rests for a moment is not lost and a flicker is not
    found. GrabCut (Rother et al. 2004) then draws the outline along edges of colour, in a band around it.

    Args:
        pictures: uint8 (H, W, 3).
        flows: between them.

    Raises:
        NothingMoves: nothing moves of itself, or more than `LARGEST` of the picture.
    """
    evidence = _along_time(_deviations(flows, seed), flows)
    smallest = SMALLEST * evidence[0].numel()
    masks = torch.zeros(evidence.shape, dtype=torch.bool)
    for t, (picture, values) in enumerate(zip(pictures, evidence, strict=True)):
        threshold = max(LEAST, ABOVE_NOISE * float(values.median()))
        masks[t] = _outlined(picture, values / threshold, smallest)
    masks = _majority(masks, flows)
    masks = torch.stack([_large_parts(mask, smallest) for mask in masks])
    share = float(masks.float().mean())
    if not masks.any() or share > LARGEST:
        found = "nothing moves" if not masks.any() else f"{100 * share:.0f} % of the picture moves"
        raise NothingMoves(f"{found} against the background: give --masks, or fit without layers")
    return masks.to(torch.uint8)


def _deviations(flows: Flows, seed: int) -> tuple[Tensor, Tensor]:
    """Deviation of each frame's flows from the camera motion, in pixels a frame, and trust in it, (T, H, W) each."""
    count, (height, width) = len(flows.forward) + 1, flows.forward.shape[2:]
    total, weight = torch.zeros(count, height, width), torch.zeros(count, height, width)
    grid = pixel_grid(height, width)
    homogeneous = torch.cat((grid, torch.ones_like(grid[:1])))
    for t in range(count - 1):
        for frame, flow, trust in (
            (t, flows.forward[t], flows.forward_trust[t]),
            (t + 1, flows.backward[t], flows.backward_trust[t]),
        ):
            matrix = torch.from_numpy(common_motion(flow, trust, "homography", seed)).float()
            moved = torch.einsum("ij,jhw->ihw", matrix, homogeneous)
            camera = moved[:2] / moved[2:].clamp(min=0.1) - grid
            total[frame] += trust * (flow - camera).norm(dim=0)
            weight[frame] += trust
    return total, weight


def _along_time(found: tuple[Tensor, Tensor], flows: Flows) -> Tensor:
    """Mean deviation (T, H, W) over each pixel's way through the frames, those near in time counting most."""
    total, weight = found
    grid = pixel_grid(total.shape[1], total.shape[2])
    sums = torch.stack((total, weight), dim=1)
    result = sums.clone()
    carried = sums[0]
    for t in range(1, len(sums)):
        carried = MEMORY * flows.backward_trust[t - 1] * look_up(carried, grid + flows.backward[t - 1])
        result[t] += carried
        carried = carried + sums[t]
    carried = sums[-1]
    for t in range(len(sums) - 2, -1, -1):
        carried = MEMORY * flows.forward_trust[t] * look_up(carried, grid + flows.forward[t])
        result[t] += carried
        carried = carried + sums[t]
    return result[:, 0] / result[:, 1].clamp(min=0.05)


def _outlined(picture: np.ndarray, score: Tensor, smallest: float) -> Tensor:
    """The thing in one frame, (H, W) bool, from scores that are above 1 where it moves."""
    cv2 = import_cv2("fit", "to find what moves")
    rough = _large_parts(score > 1, smallest)
    if not rough.any():
        return rough
    reach = 2 * max(round(NEAR * min(score.shape)), 1) + 1
    near = F.max_pool2d(rough[None].float(), reach, stride=1, padding=reach // 2)[0] > 0
    inner = -F.max_pool2d(-(rough & (score > SURE))[None].float(), 3, stride=1, padding=1)[0] > 0
    if not inner.any() or bool(near.all()):
        return rough
    classes = np.full(score.shape, cv2.GC_BGD, np.uint8)
    classes[near.numpy()] = cv2.GC_PR_BGD
    classes[rough.numpy()] = cv2.GC_PR_FGD
    classes[inner.numpy()] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(picture[..., ::-1]), classes, None, *models, COLOURED, cv2.GC_INIT_WITH_MASK)
    return torch.from_numpy((classes == cv2.GC_FGD) | (classes == cv2.GC_PR_FGD))


def _majority(masks: Tensor, flows: Flows) -> Tensor:
    """What most of a frame, the two before and the two after it agree on, along the flow: (T, H, W) bool."""
    grid = pixel_grid(masks.shape[1], masks.shape[2])
    shown = masks.float()[:, None]
    votes, voters = 1.5 * shown[:, 0], torch.full_like(shown[:, 0], 1.5)
    for t in range(len(masks)):
        for flow_of, trust_of, step in (
            (flows.forward, flows.forward_trust, 1),
            (flows.backward, flows.backward_trust, -1),
        ):
            at, sure = grid, torch.ones_like(votes[t])
            for near in (t + step, t + 2 * step):
                pair = min(near, near - step)
                if not 0 <= near < len(masks):
                    break
                sure = sure * look_up(trust_of[pair][None], at)[0]
                at = at + look_up(flow_of[pair], at)
                votes[t] += sure * look_up(shown[near], at)[0]
                voters[t] += sure
    return votes > 0.5 * voters


def _large_parts(mask: Tensor, smallest: float) -> Tensor:
    """Connected parts of a mask (H, W) of at least so many pixels, small holes in them closed."""
    cv2 = import_cv2("fit", "to find what moves")
    image = mask.numpy().astype(np.uint8)
    for value in (1, 0):
        _, parts, facts, _ = cv2.connectedComponentsWithStats((image == value).astype(np.uint8), connectivity=8)
        small = facts[:, cv2.CC_STAT_AREA] < smallest
        small[0] = False
        image[small[parts]] = 1 - value
    return torch.from_numpy(image > 0)
