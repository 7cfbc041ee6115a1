"""The report on a fitted clip: PSNR, SSIM, how far the canonical image explains the frames, and visibility."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.fitting.options import FitOptions
from gendef.geometry import folded_share, jacobian_determinant, sampling_positions
from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample
from gendef.media.footage import Scene
from gendef.metrics.image_quality import SSIM_WINDOW, psnr, ssim
from gendef.optical_flow.pairwise_flow import Flows
from gendef.video.canonical_video import CanonicalVideo

COLOUR_ERROR = 0.12
"""Largest difference in colour (of a range of 2, mean over 3 by 3 pixels) of an explained pixel."""
SMALLEST_AREA = 0.05
"""Area factor of the field below which content counts as squeezed away."""
ROUND_TRIP = 3.0
"""Largest distance, in pixels of the canonical image, between the places at which two neighbouring frames look for a
point that optical flow connects."""
AROUND = 7
"""Side, in pixels, of the neighbourhood whose majority decides whether a pixel is explained."""
TRUSTED = 0.5
"""Trust above which a flow vector is used to judge the field."""
SEEN = 0.25
"""Observations, in frame pixels, from which on a canonical pixel counts as seen."""


def colours_match(rendered: Tensor, truth: Tensor) -> Tensor:
    """Pixels of frames (T, 3, H, W) whose colour is right on average over 3 by 3 pixels, (T, H, W) bool."""
    error = (rendered - truth).abs().mean(dim=1, keepdim=True)
    return F.avg_pool2d(error, 3, stride=1, padding=1, count_include_pad=False)[:, 0] <= COLOUR_ERROR


def preserves_area(deformation: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Pixels where a field (T, H, W, 2) neither folds nor squeezes content away, (T, H, W) bool.

    Args:
        canvas: height and width of the canonical image.
    """
    height, width = deformation.shape[1:3]
    if min(height, width) < 2:
        return torch.ones(deformation.shape[:3], dtype=torch.bool)
    area = jacobian_determinant(deformation) * (canvas[0] * canvas[1] / (height * width))
    return F.pad((area > SMALLEST_AREA)[:, None].float(), (0, 1, 0, 1), mode="replicate")[:, 0] > 0


def explained(rendered: Tensor, truth: Tensor, deformation: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Pixels whose colour is right and where the field neither folds nor squeezes, (T, H, W) bool.

    Args:
        rendered, truth: (T, 3, H, W).
        deformation: (T, H, W, 2).
        canvas: height and width of the canonical image.
    """
    return colours_match(rendered, truth) & preserves_area(deformation, canvas)


def agrees_with_flow(deformation: Tensor, canvas: tuple[int, int], flows: Flows) -> Tensor:
    """Pixels at which the field agrees with optical flow, (T, H, W) bool.

    A pixel and the pixel to which flow takes it in a neighbouring frame must look at the same place of the canonical
    image, up to `ROUND_TRIP`, wherever the flow is trusted.
    """
    positions = sampling_positions(deformation, canvas).movedim(-1, 1)
    grid = pixel_grid(*deformation.shape[1:3])
    agrees = torch.ones(deformation.shape[:3], dtype=torch.bool)
    for t in range(len(positions) - 1):
        for here, there in ((t, t + 1), (t + 1, t)):
            flow, trust = flows.between(here, there)
            gap = (sample(positions[there], (grid + flow).movedim(0, -1), units="pixels") - positions[here]).norm(dim=0)
            agrees[here] &= (gap <= ROUND_TRIP) | (trust <= TRUSTED)
    return agrees


def local_majority(marks: Tensor) -> Tensor:
    """Majority over the `AROUND` by `AROUND` pixels around each, (T, H, W) bool.

    A single pixel's colour is unreliable: noise, and edges that are off by half a pixel.
    """
    shares = F.avg_pool2d(marks[:, None].float(), AROUND, stride=1, padding=AROUND // 2, count_include_pad=False)
    return shares[:, 0] > 0.5


def reference_difference(clip: CanonicalVideo, truth: Tensor, reference: int, visible: Tensor) -> float:
    """Mean difference, in levels of 255, between canonical image and reference frame where both show the same content.

    It is measured without illumination, which is not in the canonical image.

    Args:
        truth: (3, H, W), the reference frame.
        visible: (H, W) bool, where the canonical image explains it.
    """
    shown = clip.without_illumination().render(frames=[reference])[0]
    difference = (shown - truth).abs().mean(dim=0)[visible]
    return float(difference.mean()) * 127.5 if difference.numel() else 0.0


def measure(
    clip: CanonicalVideo, truth: Tensor, used: list[int], reference: int, agrees: Tensor | None
) -> tuple[dict[str, float], Tensor]:
    """The report on a fitted clip, and its visibility (T, H, W) bool.

    Args:
        truth: (T, 3, H, W), the frames.
        used: numbers of the frames that are not black.
        reference: number of the reference frame.
        agrees: (len(used), H, W) bool, pixels on which field and flow agree; None for a still picture.
    """
    rendered = clip.render()
    canvas = (clip.canonical.shape[1], clip.canonical.shape[2])
    visible = explained(rendered, truth, clip.deformation, canvas)
    if agrees is not None:
        visible[used] &= agrees
    visible = local_majority(visible)
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
    if min(clip.size) >= SSIM_WINDOW:
        report["ssim"] = float(ssim(rendered[used], truth[used]).mean())
    if clip.illumination is not None:
        report |= without_illumination(clip.without_illumination().render()[used], truth[used])
    return report, visible


def without_illumination(rendered: Tensor, truth: Tensor) -> dict[str, float]:
    """Entries of a report for frames (T, 3, H, W) that were rendered without the illumination."""
    report = {"psnr_without_illumination": float(psnr(rendered, truth).mean())}
    if min(truth.shape[2:]) >= SSIM_WINDOW:
        report["ssim_without_illumination"] = float(ssim(rendered, truth).mean())
    return report


def clip_info(scene: Scene, options: FitOptions, name: str) -> dict[str, Any]:
    """The `info` of a fitted clip: how it was made.

    Args:
        name: of the source.
    """
    return {
        "kind": "fit",
        "source": Path(name).name,
        "frames": [scene.numbers[0], scene.numbers[-1]],
        **options.result_settings(),
    }


def nearest_used(used: list[int], count: int) -> Tensor:
    """For each of `count` frames the index into `used` of the nearest one: black frames take its field; (count,)."""
    return (torch.arange(count)[:, None] - torch.tensor(used)[None]).abs().argmin(dim=1)
