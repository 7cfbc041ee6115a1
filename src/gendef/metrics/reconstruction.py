"""How near one video is to another, frame by frame: PSNR, SSIM and LPIPS."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError, MissingDependencyError
from gendef.metrics.lpips import LPIPS

DATA_RANGE = 2.0
"""Frames are in [-1, 1]."""
SSIM_WINDOW = 11


@dataclass
class ReconstructionScore:
    """Values of each frame; PSNR in dB (infinite for equal frames), SSIM at most 1, LPIPS from 0 (empty without it)."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Means over frames."""
        means = {"psnr": float(np.mean(self.psnr)), "ssim": float(np.mean(self.ssim))}
        return means | ({"lpips": float(np.mean(self.lpips))} if self.lpips else {})


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal to noise ratio in dB of each pair of frames, (T, 3, H, W) in [-1, 1] -> (T,).

    10 log10(4 / mean squared difference), over pixels and channels.

    Raises:
        InputError: shapes differ.
    """
    _check(first, second)
    error = (first.double() - second.double()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(DATA_RANGE**2 / error)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each pair of frames, (T, 3, H, W) in [-1, 1] -> (T,).

    Gaussian window of 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, mean over channels and over the pixels at which
    the window lies inside the frame; computed by torchmetrics.

    Raises:
        InputError: shapes differ, or frames are smaller than the window.
        MissingDependencyError: torchmetrics is not installed.
    """
    _check(first, second)
    if min(first.shape[2:]) < SSIM_WINDOW:
        height, width = first.shape[2:]
        raise InputError(f"SSIM needs frames of at least {SSIM_WINDOW} pixels, got {width}x{height}")
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise MissingDependencyError("torchmetrics", "eval", "for SSIM") from error
    _, local = structural_similarity_index_measure(
        first.double(), second.double(), data_range=DATA_RANGE, reduction="none", return_full_image=True
    )
    # The library's own mean counts the border too, where it reflects the frame to have neighbours.
    border = SSIM_WINDOW // 2
    return local[..., border:-border, border:-border].mean(dim=(1, 2, 3))


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
