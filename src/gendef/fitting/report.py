"""What a fit reached: signal-to-noise, similarity, honesty of the canonical image, and what is visible."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.geometry import folded_share, jacobian_determinant, sampling_positions
from gendef.geometry.sampling import look_up, pixel_grid
from gendef.metrics.image_quality import psnr, ssim
from gendef.optical_flow.pairwise_flow import Flows
from gendef.video.canonical_video import CanonicalVideo

COLOUR_ERROR = 0.12
"""Difference in colour (of a range of 2, mean of 3 by 3 pixels) up to which the canonical image explains a pixel."""
SMALLEST_AREA = 0.05
"""Area factor of the field below which a place shows content squeezed away, and not content."""
ROUND_TRIP = 3.0
"""Pixels of the canonical image by which neighbouring frames may disagree about a point that optical flow connects."""
AROUND = 7
"""Side, in pixels, of the surroundings that decide whether a pixel is explained."""
SURE = 0.5
"""Trust from which on a flow counts as sure."""


def coloured(rendered: Tensor, truth: Tensor) -> Tensor:
    """Pixels of (T, 3, H, W) whose colour is right, averaged over a few so that noise does not count: (T, H, W)."""
    error = (rendered - truth).abs().mean(dim=1, keepdim=True)
    return F.avg_pool2d(error, 3, stride=1, padding=1, count_include_pad=False)[:, 0] <= COLOUR_ERROR


def unsqueezed(deformation: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Pixels where a field (T, H, W, 2) has not squeezed or folded content away, (T, H, W) bool.

    Args:
        canvas: height and width of the canonical image.
    """
    height, width = deformation.shape[1:3]
    if min(height, width) < 2:
        return torch.ones(deformation.shape[:3], dtype=torch.bool)
    area = jacobian_determinant(deformation) * (canvas[0] * canvas[1] / (height * width))
    return F.pad((area > SMALLEST_AREA)[:, None].float(), (0, 1, 0, 1), mode="replicate")[:, 0] > 0


def explained(rendered: Tensor, truth: Tensor, deformation: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Pixels that the canonical image explains as far as one frame can tell, (T, H, W) bool.

    Their colour is right, and the field has not squeezed or folded away the content there.

    Args:
        rendered, truth: (T, 3, H, W).
        deformation: (T, H, W, 2).
        canvas: height and width of the canonical image.
    """
    return coloured(rendered, truth) & unsqueezed(deformation, canvas)


def agreeing(deformation: Tensor, canvas: tuple[int, int], flows: Flows) -> Tensor:
    """Pixels whose way through the field agrees with their way through optical flow, (T, H, W) bool.

    From a pixel by the flow to a neighbouring frame and from there by the field, one must come to the same place of the
    canonical image as by the field alone, wherever the flow is sure.
    """
    positions = sampling_positions(deformation, canvas).movedim(-1, 1)
    grid = pixel_grid(*deformation.shape[1:3])
    agrees = torch.ones(deformation.shape[:3], dtype=torch.bool)
    for t in range(len(positions) - 1):
        for here, there in ((t, t + 1), (t + 1, t)):
            flow, trust = flows.between(here, there)
            gap = (look_up(positions[there], grid + flow) - positions[here]).norm(dim=0)
            agrees[here] &= (gap <= ROUND_TRIP) | (trust <= SURE)
    return agrees


def most_around(marks: Tensor) -> Tensor:
    """What most of the `AROUND` by `AROUND` pixels around each say, (T, H, W) bool.

    A single pixel's colour says little: noise and edges that are off by half a pixel come and go.
    """
    shares = F.avg_pool2d(marks[:, None].float(), AROUND, stride=1, padding=AROUND // 2, count_include_pad=False)
    return shares[:, 0] > 0.5


def reference_difference(clip: CanonicalVideo, truth: Tensor, reference: int, visible: Tensor) -> float:
    """Mean difference, in levels of 255, between the canonical image and the reference frame where both see the same.

    An illumination does not count: it is not in the canonical image.

    Args:
        truth: (3, H, W), the reference frame.
        visible: (H, W) bool, where the canonical image explains it.
    """
    shown = clip.without_illumination().render(frames=[reference])[0]
    difference = (shown - truth).abs().mean(dim=0)[visible]
    return float(difference.mean()) * 127.5 if difference.numel() else 0.0


def measured(
    clip: CanonicalVideo, truth: Tensor, used: list[int], reference: int, agrees: Tensor | None
) -> tuple[dict[str, float], Tensor]:
    """The report on a fitted clip, and its visibility (T, H, W) bool.

    Args:
        truth: (T, 3, H, W), the frames.
        used: frames that count; black ones do not.
        reference: number of the reference frame.
        agrees: (len(used), H, W) bool, pixels on which field and flow agree; None where nothing moves.
    """
    rendered = clip.render()
    canvas = (clip.canonical.shape[1], clip.canonical.shape[2])
    visible = explained(rendered, truth, clip.deformation, canvas)
    if agrees is not None:
        visible[used] &= agrees
    visible = most_around(visible)
    unused = torch.ones(len(truth), dtype=torch.bool)
    unused[used] = False
    visible[unused] = False
    quality = psnr(rendered[used], truth[used])
    report = {
        "psnr": float(quality.mean()),
        "psnr_min": float(quality.min()),
        "folded": folded_share(clip.deformation[used]) if min(clip.size) > 1 else 0.0,
        "explained": float(visible[used].float().mean()),
        "reference_difference": reference_difference(clip, truth[reference], reference, visible[reference]),
    }
    if min(clip.size) > 11:
        report["ssim"] = float(ssim(rendered[used], truth[used]).mean())
    if clip.illumination is not None:
        report |= in_one_light(clip.without_illumination().render()[used], truth[used])
    return report, visible


def in_one_light(rendered: Tensor, truth: Tensor) -> dict[str, float]:
    """Entries of a report for frames (T, 3, H, W) rendered without the illumination."""
    report = {"psnr_without_illumination": float(psnr(rendered, truth).mean())}
    if min(truth.shape[2:]) > 11:
        report["ssim_without_illumination"] = float(ssim(rendered, truth).mean())
    return report
