"""Temporal consistency of one video: warping error, speed, folding, and the same for an edit of it."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import folded_share
from gendef.optical_flow.consistency import backward_warp, visible_in_both
from gendef.optical_flow.dis import FlowMethod, dis_flow

STILL = 0.05
"""Speed in pixels per frame below which a pixel counts as still."""
HISTOGRAM_BINS, HISTOGRAM_END = 4000, 200.0


@dataclass
class TemporalScore:
    """Measures of one video; sequences hold one value for each pair of neighbouring frames.

    Attributes:
        warping_errors: squared difference of the colours, in [0, 1] and summed over channels, between a frame and the
            next one warped back by the flow, mean over the pixels visible in both (Lai et al. 2018, section 4.2;
            occlusion by forward-backward consistency). Lower is more consistent; a still video has 0.
        visible: share of pixels used for it.
        edit_warping_errors: the same for an edited video, along the flow of the source; empty without one.
        speeds: mean length of the flow, in pixels.
    """

    warping_errors: list[float] = field(default_factory=list)
    visible: list[float] = field(default_factory=list)
    edit_warping_errors: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    _histogram: np.ndarray = field(default_factory=lambda: np.zeros(HISTOGRAM_BINS, np.int64))

    def summary(self) -> dict[str, float]:
        """Means, and the distribution of speeds over pixels and frames, in pixels a frame.

        `edit_to_source` is the warping error of the edit over that of the source, both along the source's flow: about 1
        if the edit moves with the source, more if it flickers or lags, less if it lost texture.
        """
        speed = {name: self._quantile(share) for name, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99))}
        still = int(np.ceil(STILL / HISTOGRAM_END * HISTOGRAM_BINS))
        made = {
            "pairs": len(self.speeds),
            "warping_error": float(np.nanmean(self.warping_errors)),
            "visible_share": float(np.mean(self.visible)),
            "speed_mean": float(np.mean(self.speeds)),
            **{f"speed_{name}": value for name, value in speed.items()},
            "still_share": float(self._histogram[:still].sum() / self._histogram.sum()),
        }
        if self.edit_warping_errors:
            edit = float(np.nanmean(self.edit_warping_errors))
            made["edit_warping_error"] = edit
            source = made["warping_error"]
            made["edit_to_source"] = edit / source if source else float("nan")
        return made

    def add_speeds(self, speed: np.ndarray) -> None:
        """Add the speeds of the pixels of one pair of frames."""
        self.speeds.append(float(speed.mean()))
        place = (speed.ravel() * (HISTOGRAM_BINS / HISTOGRAM_END)).astype(np.int64).clip(0, HISTOGRAM_BINS - 1)
        self._histogram += np.bincount(place, minlength=HISTOGRAM_BINS)

    def _quantile(self, share: float) -> float:
        """To the width of a bin, 0.05 pixels."""
        place = int(np.searchsorted(self._histogram.cumsum(), share * self._histogram.sum()))
        return (place + 0.5) * HISTOGRAM_END / HISTOGRAM_BINS


def temporal(
    frames: Iterable[np.ndarray], edited: Iterable[np.ndarray] | None = None, flow: FlowMethod | None = None
) -> TemporalScore:
    """Measure a video, pair by pair of neighbouring frames.

    Args:
        frames: uint8 RGB (H, W, 3), as they come; two are in memory.
        edited: the same video after an edit, as long and as large; scored along the flow of `frames`.
        flow: optical flow; default OpenCV's DIS.

    Raises:
        InputError: fewer than two frames, or sizes differ.
        MissingDependencyError: OpenCV is not installed.
    """
    flow = flow or dis_flow()
    score = TemporalScore()
    pairs = itertools.pairwise(_with_edit(frames, edited))
    for (first, first_edit), (second, second_edit) in pairs:
        forward = flow(first, second)
        seen = visible_in_both(forward, flow(second, first))
        score.add_speeds(np.linalg.norm(forward, axis=-1))
        score.visible.append(float(seen.mean()))
        score.warping_errors.append(warping_error(first, second, forward, seen))
        if first_edit is not None and second_edit is not None:
            score.edit_warping_errors.append(warping_error(first_edit, second_edit, forward, seen))
    if not score.speeds:
        raise InputError("the video has fewer than two frames, so its motion cannot be measured")
    return score


def _with_edit(
    frames: Iterable[np.ndarray], edited: Iterable[np.ndarray] | None
) -> Iterable[tuple[np.ndarray, np.ndarray | None]]:
    if edited is None:
        yield from ((frame, None) for frame in frames)
        return
    for number, (frame, edit) in enumerate(itertools.zip_longest(frames, edited)):
        if frame is None or edit is None:
            raise InputError(f"the video and its edit differ in length: one ends after {number} frames")
        if frame.shape != edit.shape:
            raise InputError(f"the video and its edit differ in size: {frame.shape[:2]} and {edit.shape[:2]}")
        yield frame, edit


def warping_error(first: np.ndarray, second: np.ndarray, flow: np.ndarray, visible: np.ndarray) -> float:
    """Squared difference of a frame and the next one warped back along the flow, over the visible pixels.

    Args:
        first, second: uint8 RGB (H, W, 3).
        flow: (H, W, 2) from the first to the second, in pixels.
        visible: (H, W) bool.

    Returns:
        Mean over pixels of the sum over channels, colours in [0, 1]; NaN if nothing is visible.
    """
    if not visible.any():
        return float("nan")
    back, _ = backward_warp(second, flow)
    return float((((back - first) / 255) ** 2).sum(axis=-1)[visible].mean())


def folding(deformation: Tensor, chunk: int = 16) -> dict[str, float]:
    """Share of pixels where a field (T, H, W, 2) folds (det J <= 0): mean over frames and the worst frame."""
    shares = [folded_share(frame) for part in deformation.split(chunk) for frame in part]
    return {"folded_share": float(np.mean(shares)), "folded_share_worst_frame": float(np.max(shares))}
