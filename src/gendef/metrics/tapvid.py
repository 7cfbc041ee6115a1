"""Measures of tracked points as TAP-Vid defines them.

Doersch et al., "TAP-Vid: A Benchmark for Tracking Any Point in a Video" (NeurIPS 2022), section 3 and appendix: average
Jaccard (AJ), position accuracy (delta_avg) and occlusion accuracy (OA).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from gendef.errors import InputError

THRESHOLDS = (1, 2, 4, 8, 16)
"""Distances in pixels of a 256x256 frame, over which the measures are averaged."""
SIDE = 256
STRIDE = 5
"""Frames between the query frames of the strided mode."""
QueryMode = Literal["first", "strided"]


@dataclass(frozen=True)
class TrackingScore:
    """Scores of one video, or averages over videos, all between 0 and 1.

    Attributes:
        average_jaccard: AJ, mean of `jaccard` over the thresholds.
        delta_average: delta_avg, mean of `within` over the thresholds.
        occlusion_accuracy: OA, share of points and frames whose visibility is predicted correctly.
        jaccard: per threshold, true positives over truly visible plus false positives. A true positive is visible,
            predicted visible and nearer than the threshold; a false positive is predicted visible but occluded or not
            near. A visible point predicted visible elsewhere thus counts twice in the denominator, as specified.
        within: per threshold, share of the truly visible points that are predicted nearer than it, visible or not.

    NaN if undefined, for instance without a truly visible point.
    """

    average_jaccard: float
    delta_average: float
    occlusion_accuracy: float
    jaccard: dict[int, float]
    within: dict[int, float]

    def summary(self) -> dict[str, float]:
        """The three numbers of a TAP-Vid table."""
        return {
            "average_jaccard": self.average_jaccard,
            "delta_average": self.delta_average,
            "occlusion_accuracy": self.occlusion_accuracy,
        }


def queries_first(visible: Any) -> tuple[np.ndarray, np.ndarray]:
    """Queries of the mode "first": each point that is ever visible, at the first frame that shows it.

    Args:
        visible: (N, T) bool.

    Returns:
        Indices of the points, (M,), and frames, (M,).
    """
    shown = _array(visible).astype(bool)
    points = np.flatnonzero(shown.any(axis=1))
    return points, shown[points].argmax(axis=1)


def queries_strided(visible: Any, stride: int = STRIDE) -> tuple[np.ndarray, np.ndarray]:
    """Queries of the mode "strided": at every `stride`-th frame, each point that is visible there.

    Args:
        visible: (N, T) bool.

    Returns:
        Indices of the points, (M,), and frames, (M,), frame by frame.
    """
    shown = _array(visible).astype(bool)
    frames, points = np.nonzero(shown[:, ::stride].T)
    return points, frames * stride


def tap_vid(
    positions: Any,
    visible: Any,
    true_positions: Any,
    true_visible: Any,
    query_frames: Any,
    *,
    mode: QueryMode = "first",
    size: Sequence[int] | None = None,
) -> TrackingScore:
    """Score the tracks of one video.

    Args:
        positions, true_positions: (N, T, 2), x then y, in pixels. The true positions of occluded points may be NaN.
        visible, true_visible: (N, T) bool.
        query_frames: (N,), the query frame of each track.
        mode: "first" scores the frames after the query frame, "strided" all frames but it.
        size: height and width of the frames; distances are then rescaled to a frame of 256x256, for which the
            thresholds are meant, each axis by itself. None when the positions are in such pixels already.

    Raises:
        InputError: shapes do not fit, a query frame does not exist, or no frame is left to score.
    """
    seen, true = _array(positions).astype(np.float64), _array(true_positions).astype(np.float64)
    shown, truly_shown = _array(visible).astype(bool), _array(true_visible).astype(bool)
    if true.ndim != 3 or true.shape[2] != 2 or seen.shape != true.shape:
        raise InputError(f"positions must both be (N, T, 2), got {seen.shape} and {true.shape}")
    if shown.shape != true.shape[:2] or truly_shown.shape != true.shape[:2]:
        raise InputError(f"visibility must be {true.shape[:2]} twice, got {shown.shape} and {truly_shown.shape}")
    if mode not in get_args(QueryMode):
        raise InputError(f"mode must be first or strided, got {mode!r}")
    scored = _scored_frames(_array(query_frames), true.shape[:2], mode)
    scale = np.ones(2) if size is None else SIDE / np.array([size[1], size[0]], np.float64)
    distance = np.linalg.norm((seen - true) * scale, axis=-1)
    jaccard, within = {}, {}
    visible_count = np.count_nonzero(truly_shown & scored)
    for threshold in THRESHOLDS:
        near = distance < threshold  # false for NaN
        correct = near & truly_shown & scored
        false_positives = np.count_nonzero(shown & ~(near & truly_shown) & scored)
        jaccard[threshold] = _ratio(np.count_nonzero(correct & shown), visible_count + false_positives)
        within[threshold] = _ratio(np.count_nonzero(correct), visible_count)
    return TrackingScore(
        float(np.mean(list(jaccard.values()))),
        float(np.mean(list(within.values()))),
        _ratio(np.count_nonzero((shown == truly_shown) & scored), np.count_nonzero(scored)),
        jaccard,
        within,
    )


def average_scores(scores: Sequence[TrackingScore]) -> TrackingScore:
    """The average over videos with equal weights, as in TAP-Vid; NaN values are left out.

    Raises:
        InputError: there are none.
    """
    if not scores:
        raise InputError("there are no videos to average over")
    jaccard = {threshold: _mean([score.jaccard[threshold] for score in scores]) for threshold in THRESHOLDS}
    within = {threshold: _mean([score.within[threshold] for score in scores]) for threshold in THRESHOLDS}
    return TrackingScore(
        _mean([score.average_jaccard for score in scores]),
        _mean([score.delta_average for score in scores]),
        _mean([score.occlusion_accuracy for score in scores]),
        jaccard,
        within,
    )


def _scored_frames(query_frames: np.ndarray, shape: tuple[int, int], mode: QueryMode) -> np.ndarray:
    """(N, T) bool: which frames of which track count."""
    if query_frames.shape != shape[:1]:
        raise InputError(f"there must be one query frame for each of {shape[0]} points, got {query_frames.shape}")
    wrong = query_frames[(query_frames < 0) | (query_frames >= shape[1]) | (query_frames != np.round(query_frames))]
    if len(wrong):
        raise InputError(f"query frames must be whole and between 0 and {shape[1] - 1}, got {wrong[0]}")
    frames = np.arange(shape[1])
    scored = frames > query_frames[:, None] if mode == "first" else frames != query_frames[:, None]
    if not scored.any():
        raise InputError(f"no frame is left to score: {shape[0]} points in {shape[1]} frames, mode {mode}")
    return scored


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else float("nan")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
