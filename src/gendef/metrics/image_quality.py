"""Similarity of two videos, frame by frame: PSNR, SSIM and LPIPS.

All three compare what a screen shows: frames in [-1, 1] are clamped and, for PSNR and SSIM, mapped to [0, 1].
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.metrics.lpips import LPIPS
from gendef.runtime.optional_imports import import_cv2

MAX_PSNR = 100.0
"""PSNR of equal frames, in dB, so that means over frames stay finite."""
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_CONSTANTS = (0.01**2, 0.03**2)
"""(K1 L)^2 and (K2 L)^2 of Wang et al. 2004 for the data range L = 1."""


@dataclass
class ReconstructionScore:
    """Values of each frame; PSNR in dB (at most 100), SSIM at most 1, LPIPS from 0 (empty without it)."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Means over frames."""
        means = {"psnr": float(np.mean(self.psnr)), "ssim": float(np.mean(self.ssim))}
        return means | ({"lpips": float(np.mean(self.lpips))} if self.lpips else {})


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each pair of frames, (T, 3, H, W) in [-1, 1] -> (T,).

    10 log10(1 / mean squared difference) of values in [0, 1], over pixels and channels; at most 100.

    Raises:
        InputError: shapes differ.
    """
    _check(first, second)
    error = (_unit(first) - _unit(second)).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=10 ** (-MAX_PSNR / 10)).log10()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each pair of frames, (T, 3, H, W) in [-1, 1] -> (T,).

    Gaussian window of 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, data range 1 on values in [0, 1], mean over
    channels and over the pixels at which the window lies inside the frame. Equals scikit-image's
    `structural_similarity(gaussian_weights=True, use_sample_covariance=False, data_range=1)`.

    Raises:
        InputError: shapes differ, or frames are smaller than the window.
        MissingDependencyError: OpenCV is not installed.
    """
    _check(first, second)
    if min(first.shape[2:]) < SSIM_WINDOW:
        height, width = first.shape[2:]
        raise InputError(f"SSIM needs frames of at least {SSIM_WINDOW} pixels, got {width}x{height}")
    pairs = zip(_unit(first).numpy(), _unit(second).numpy(), strict=True)
    return torch.tensor([np.mean([_plane_ssim(one, two) for one, two in zip(*pair, strict=True)]) for pair in pairs])


def _plane_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM of two planes (H, W) in [0, 1]."""
    cv2 = import_cv2("eval", "for SSIM")
    window = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA)
    border = SSIM_WINDOW // 2

    def mean(plane: np.ndarray) -> np.ndarray:
        filtered: np.ndarray = cv2.sepFilter2D(plane, cv2.CV_64F, window, window)
        return filtered[border:-border, border:-border]

    c1, c2 = SSIM_CONSTANTS
    mean1, mean2 = mean(first), mean(second)
    variances = mean(first * first) - mean1**2 + mean(second * second) - mean2**2
    covariance = mean(first * second) - mean1 * mean2
    numerator = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return float((numerator / ((mean1**2 + mean2**2 + c1) * (variances + c2))).mean())


def _unit(frames: Tensor) -> Tensor:
    """Frames in [-1, 1], clamped, as float64 in [0, 1]."""
    return (frames.detach().cpu().double().clamp(-1, 1) + 1) / 2


def _check(first: Tensor, second: Tensor) -> None:
    if first.ndim != 4 or first.shape != second.shape or first.shape[1] != 3 or not len(first):
        raise InputError(f"frames must both be (T, 3, H, W), got {tuple(first.shape)} and {tuple(second.shape)}")


def reconstruction(pairs: Iterable[tuple[Any, Any]], network: LPIPS | None = None) -> ReconstructionScore:
    """Score pairs of chunks of frames, each (t, 3, H, W) in [-1, 1], as they come.

    Args:
        pairs: the two videos side by side, chunk by chunk.
        network: for LPIPS; None leaves it out. Needs frames of at least 32 pixels.

    Raises:
        InputError: shapes differ, frames are too small, or there are none.
    """
    score = ReconstructionScore()
    for first, second in pairs:
        score.psnr += psnr(first, second).tolist()
        score.ssim += ssim(first, second).tolist()
        if network is not None:
            with torch.inference_mode():
                score.lpips += network(first.float(), second.float()).tolist()
    if not score.psnr:
        raise InputError("there are no frames to compare")
    return score
