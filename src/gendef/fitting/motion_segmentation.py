"""Motion segmentation: flow that deviates from the camera motion, filtered over time and refined by GrabCut."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.errors import InputError
from gendef.fitting.camera import common_motion
from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample
from gendef.optical_flow.pairwise_flow import Flows
from gendef.runtime.optional_imports import import_cv2

MEMORY = 0.8
"""Decay per frame of the deviation that is accumulated along the flow."""
LEAST = 0.35
"""Lower limit of the detection threshold, in pixels per frame of deviation from the camera motion."""
ABOVE_NOISE = 4.0
"""Detection threshold as a multiple of the frame's median deviation."""
SURE = 2.0
"""Deviation, as a multiple of the threshold, above which GrabCut treats a pixel as certain foreground."""
SMALLEST = 0.002
"""Smallest area of an object, as a share of the frame."""
LARGEST = 0.6
"""Largest mean share of the frame for the objects; above it the scene itself counts as moving."""
NEAR = 0.03
"""Width of the band around the detected region in which GrabCut decides, as a share of the shorter side."""
GRABCUT_ITERATIONS = 2


class NoMovingObjects(InputError):
    """No object, or more than `LARGEST` of the frame, moves independently of the camera."""


def segment_moving_objects(pictures: list[np.ndarray], flows: Flows, seed: int) -> Tensor:
    """Mask of independently moving objects, (T, H, W) uint8: 1 there, else 0.

    The camera motion is a homography between neighbouring frames. The deviation of the flow from it is accumulated
    along the flow over earlier and later frames, so that an object that pauses is kept and flicker is suppressed.
    GrabCut (Rother et al. 2004) then refines the outline in a band around the detected region.

    Args:
        pictures: uint8 (H, W, 3).
        flows: between neighbouring pictures.
        seed: of RANSAC.

    Raises:
        NoMovingObjects: no object was found, or the objects cover more than `LARGEST` of the frame.
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
        found = "nothing moves" if not masks.any() else f"{100 * share:.0f} % of the frame moves"
        raise NoMovingObjects(f"{found} relative to the background: give --masks, or fit without layers")
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
    """Weighted mean deviation (T, H, W) along each pixel's trajectory; weights decay by `MEMORY` per frame."""
    total, weight = found
    grid = pixel_grid(total.shape[1], total.shape[2])
    sums = torch.stack((total, weight), dim=1)
    result = sums.clone()
    carried = sums[0]
    for t in range(1, len(sums)):
        carried = (
            MEMORY
            * flows.backward_trust[t - 1]
            * sample(carried, (grid + flows.backward[t - 1]).movedim(0, -1), units="pixels")
        )
        result[t] += carried
        carried = carried + sums[t]
    carried = sums[-1]
    for t in range(len(sums) - 2, -1, -1):
        carried = (
            MEMORY * flows.forward_trust[t] * sample(carried, (grid + flows.forward[t]).movedim(0, -1), units="pixels")
        )
        result[t] += carried
        carried = carried + sums[t]
    return result[:, 0] / result[:, 1].clamp(min=0.05)


def _outlined(picture: np.ndarray, score: Tensor, smallest: float) -> Tensor:
    """Refine the mask of one frame by GrabCut: scores (H, W), above 1 where motion was detected -> (H, W) bool."""
    cv2 = import_cv2("fit", "to detect moving objects")
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
    cv2.grabCut(
        np.ascontiguousarray(picture[..., ::-1]), classes, None, *models, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK
    )
    return torch.from_numpy((classes == cv2.GC_FGD) | (classes == cv2.GC_PR_FGD))


def _majority(masks: Tensor, flows: Flows) -> Tensor:
    """Majority vote along the flow over five frames, the middle one weighted 1.5: (T, H, W) bool."""
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
                sure = sure * sample(trust_of[pair][None], at.movedim(0, -1), units="pixels")[0]
                at = at + sample(flow_of[pair], at.movedim(0, -1), units="pixels")
                votes[t] += sure * sample(shown[near], at.movedim(0, -1), units="pixels")[0]
                voters[t] += sure
    return votes > 0.5 * voters


def _large_parts(mask: Tensor, smallest: float) -> Tensor:
    """Remove connected components and holes of a mask (H, W) that have fewer than `smallest` pixels."""
    cv2 = import_cv2("fit", "to detect moving objects")
    image = mask.numpy().astype(np.uint8)
    for value in (1, 0):
        _, parts, facts, _ = cv2.connectedComponentsWithStats((image == value).astype(np.uint8), connectivity=8)
        small = facts[:, cv2.CC_STAT_AREA] < smallest
        small[0] = False
        image[small[parts]] = 1 - value
    return torch.from_numpy(image > 0)
