"""Region similarity J and contour accuracy F of masks, as the DAVIS benchmark defines them.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation" (CVPR 2016), section 4;
for several objects Pont-Tuset et al., "The 2017 DAVIS Challenge" (arXiv 1704.00675), section 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from gendef.errors import InputError

BOUNDARY_TOLERANCE = 0.008
"""Distance at which contours still match, as a share of the frame's diagonal, rounded up to whole pixels."""


@dataclass(frozen=True)
class MeasureStatistics:
    """A measure over the frames of one object.

    Attributes:
        mean: average over frames.
        recall: share of frames above 0.5.
        decay: mean of the first quarter of the frames minus that of the last.
    """

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True)
class ObjectScore:
    """Scores of one object: statistics and the values of each frame."""

    label: int
    j: MeasureStatistics
    f: MeasureStatistics
    j_frames: np.ndarray
    f_frames: np.ndarray


@dataclass(frozen=True)
class SegmentationScore:
    """Averages over the objects of one or several videos, each object counting once, and the objects themselves."""

    j_mean: float
    j_recall: float
    j_decay: float
    f_mean: float
    f_recall: float
    f_decay: float
    objects: tuple[ObjectScore, ...]

    @property
    def jf_mean(self) -> float:
        """J&F: the mean of the means of J and F, by which DAVIS ranks."""
        return (self.j_mean + self.f_mean) / 2

    def summary(self) -> dict[str, float]:
        """The seven numbers of a DAVIS table."""
        names = ("j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay")
        return {"jf_mean": self.jf_mean, **{name: getattr(self, name) for name in names}}


def region_similarity(predicted: Any, truth: Any, void: Any = None) -> float:
    """J of one frame: intersection over union of two masks (H, W); 1 where both are empty.

    Args:
        void: mask of pixels that do not count.

    Raises:
        InputError: shapes differ.
    """
    seen, true = _masks(predicted, truth, void)
    union = int((seen | true).sum())
    return float((seen & true).sum() / union) if union else 1.0


def boundary_map(mask: Any) -> np.ndarray:
    """Contour of a mask (H, W): pixels that differ from their right, lower or lower right neighbour."""
    mask = np.asarray(mask, bool)
    # The frame's edge is no contour: beyond it the last row and column repeat.
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask ^ right) | (mask ^ below) | (mask ^ diagonal)


def boundary_accuracy(predicted: Any, truth: Any, void: Any = None, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F of one frame: harmonic mean of precision and recall of the contours of two masks (H, W).

    A contour pixel is matched when the other contour passes within `tolerance`. Two masks without contours give 1, one
    without gives 0.

    Args:
        void: mask of pixels that do not count.
        tolerance: below 1 a share of the diagonal, rounded up; from 1 on pixels.

    Raises:
        InputError: shapes differ, or the tolerance is not positive.
    """
    if not tolerance > 0:
        raise InputError(f"the tolerance must be positive, got {tolerance}")
    seen, true = _masks(predicted, truth, void)
    reach = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*seen.shape))
    seen_edge, true_edge = boundary_map(seen), boundary_map(true)
    if not seen_edge.any() or not true_edge.any():
        return float(seen_edge.any() == true_edge.any())
    precision = _share_near(seen_edge, true_edge, reach)
    recall = _share_near(true_edge, seen_edge, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(pixels: np.ndarray, others: np.ndarray, reach: float) -> float:
    """Share of `pixels` within `reach` of one of `others`: the same as dilating those by a disk of that radius."""
    distance = distance_transform_edt(~others)
    return float((distance[pixels] <= reach).mean())


def davis(
    predicted: Any,
    truth: Any,
    *,
    labels: Sequence[int] | None = None,
    void_label: int | None = 255,
    skip_ends: bool = False,
) -> SegmentationScore:
    """J, F and their statistics of a video's label maps.

    Args:
        predicted: (T, H, W), booleans or integer labels, 0 the background.
        truth: the same; where it says `void_label`, pixels do not count.
        labels: the objects to score; default all in `truth` but background and void. An object counts as predicted
            only where its own label stands.
        skip_ends: leave out the first and the last frame, as DAVIS does for methods that are given the first mask.

    Raises:
        InputError: shapes differ, no object is in the truth, or too few frames.
    """
    seen, true = _array(predicted), _array(truth)
    if seen.ndim != 3 or seen.shape != true.shape:
        raise InputError(f"label maps must both be (T, H, W), got {seen.shape} and {true.shape}")
    if skip_ends:
        seen, true = seen[1:-1], true[1:-1]
    if not len(true):
        raise InputError("there are no frames to score; give at least one, or three where the ends do not count")
    seen, true = seen.astype(np.int64), true.astype(np.int64)
    if labels is None:
        labels = [int(label) for label in np.unique(true) if label not in (0, void_label)]
    if not labels:
        raise InputError("the true label maps hold no object, only background")
    objects = [_score_object(seen, true, label, void_label) for label in labels]
    return average_scores(objects)


def _score_object(seen: np.ndarray, true: np.ndarray, label: int, void_label: int | None) -> ObjectScore:
    j, f = [], []
    for one, other in zip(seen, true, strict=True):
        void = other == void_label if void_label is not None else None
        j.append(region_similarity(one == label, other == label, void))
        f.append(boundary_accuracy(one == label, other == label, void))
    j_frames, f_frames = np.array(j), np.array(f)
    return ObjectScore(label, frame_statistics(j_frames), frame_statistics(f_frames), j_frames, f_frames)


def average_scores(objects: Sequence[ObjectScore]) -> SegmentationScore:
    """The average over objects of one or several videos; as in DAVIS, each object has the same weight.

    Raises:
        InputError: there are none.
    """
    if not objects:
        raise InputError("there are no objects to average over")
    values = {
        f"{measure}_{name}": float(np.mean([getattr(getattr(one, measure), name) for one in objects]))
        for measure in ("j", "f")
        for name in ("mean", "recall", "decay")
    }
    return SegmentationScore(**values, objects=tuple(objects))


def frame_statistics(values: np.ndarray) -> MeasureStatistics:
    """Mean, recall and decay of one measure over frames (T,).

    The four quarters share their end frames, as in the benchmark.
    """
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[3] : ends[4] + 1]
    return MeasureStatistics(float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean()))


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _masks(predicted: Any, truth: Any, void: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as booleans, empty where void."""
    seen, true = _array(predicted).astype(bool), _array(truth).astype(bool)
    if seen.ndim != 2 or seen.shape != true.shape:
        raise InputError(f"masks must both be (H, W), got {seen.shape} and {true.shape}")
    if void is None:
        return seen, true
    counts = ~_array(void).astype(bool)
    if counts.shape != seen.shape:
        raise InputError(f"the void mask must be {seen.shape}, got {counts.shape}")
    return seen & counts, true & counts
