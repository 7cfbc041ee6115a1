"""Distance of the motion of two sets of videos, from optical flow and frame differences; no network is needed.

Three distributions over pixels and frames are compared by their Wasserstein-1 distance: speed, direction (each pixel
with the weight of its speed) and acceleration (change of the flow at a pixel from one pair of frames to the next). None
of the three distinguishes swaying from drifting. Two more values do: straightness, displacement divided by path length,
and return, how far a clip comes back to its first frame.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import map_coordinates
from torch import Tensor

from gendef.errors import InputError
from gendef.evaluation.clip_sets import ClipSet, frame_rate_warnings
from gendef.evaluation.report import Report, SeededValue, versions
from gendef.evaluation.sampling import Sampling
from gendef.optical_flow.dis import FlowMethod, dis_flow

MAX_SPEED = 50.0
"""Percent of the frame's side per frame; higher speeds are clipped to this."""
BINS = 5000
DIRECTION_BINS = 360


@dataclass
class MotionStatistics:
    """Histograms of motion; lengths are in percent of the frame's side per frame, independent of the frame size.

    Attributes:
        speed: (BINS,), counts of pixels.
        acceleration: (BINS,), the same.
        direction: (DIRECTION_BINS,), sums of speed; the first bin begins in the direction of x, y points down.
        way: sum over pixels and clips of the length of the path along the flow that starts at a pixel of the first
            frame; outside the frame the flow of the border is used.
        displacement: sum of the straight distances between the starts and the ends of these paths.
        starts: number of paths.
        change: sums over clips of the mean absolute difference, in levels of 255, between the first frame and each of
            the following ones.
        clips: how many clips.
    """

    speed: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    acceleration: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    direction: np.ndarray = field(default_factory=lambda: np.zeros(DIRECTION_BINS))
    way: float = 0.0
    displacement: float = 0.0
    starts: int = 0
    change: np.ndarray = field(default_factory=lambda: np.zeros(0))
    clips: int = 0

    def add_frames(self, frames: np.ndarray) -> None:
        """Add the differences of a clip's frames, uint8 (T, H, W, 3), from its first one. All clips have one T."""
        first = frames[0].astype(np.float32)
        found = np.array([np.abs(frame - first).mean() for frame in frames[1:]])
        self.change = found if not len(self.change) else self.change + found

    @property
    def distance_from_first(self) -> np.ndarray:
        """(T - 1,): mean absolute difference from the first frame after 1, 2, ... frames, in levels of 255."""
        return self.change / max(self.clips, 1)

    def add(self, flows: Iterable[np.ndarray]) -> None:
        """Add the flows (H, W, 2) of a clip, in pixels, one after the other."""
        before: np.ndarray | None = None
        start = place = np.zeros((0, 0, 2))
        for flow in flows:
            percent = flow * (100 / max(flow.shape[:2]))
            speed = np.linalg.norm(percent, axis=-1)
            self.speed += _histogram(speed)
            angle = np.arctan2(percent[..., 1], percent[..., 0]) % (2 * np.pi)
            bins = (angle * (DIRECTION_BINS / (2 * np.pi))).astype(int).clip(0, DIRECTION_BINS - 1)
            self.direction += np.bincount(bins.ravel(), weights=speed.ravel(), minlength=DIRECTION_BINS)
            if before is None:
                start = place = np.moveaxis(np.indices(flow.shape[:2], np.float64), 0, -1)[..., ::-1]
            else:
                self.acceleration += _histogram(np.linalg.norm(percent - before, axis=-1))
            step = _sample_flow(percent, place)
            self.way += float(np.linalg.norm(step, axis=-1).sum())
            place = place + step * (max(flow.shape[:2]) / 100)
            before = percent
        if before is not None:
            self.displacement += float(np.linalg.norm(place - start, axis=-1).sum()) * (100 / max(start.shape[:2]))
            self.starts += start.shape[0] * start.shape[1]
        self.clips += 1

    def summary(self) -> dict[str, float]:
        """The means of the statistics, by name.

        - speed, acceleration: percent of the side a frame.
        - displacement: over a clip, percent of the side.
        - straightness: displacement divided by path length; 1 for content that drifts on, 0 for content that sways.
        - return: the largest share of their distance from the first frame that clips lose again; 0 for clips that go on
          changing, 1 for clips that come back to their first frame.
        """
        distance = self.distance_from_first
        furthest = np.maximum.accumulate(distance) if len(distance) else distance
        moved = furthest > 0
        centres = (np.arange(BINS) + 0.5) * (MAX_SPEED / BINS)
        return {
            "speed": float((self.speed * centres).sum() / self.speed.sum()),
            "acceleration": float((self.acceleration * centres).sum() / self.acceleration.sum()),
            "displacement": self.displacement / max(self.starts, 1),
            "straightness": self.displacement / self.way if self.way else 0.0,
            "return": float((1 - distance[moved] / furthest[moved]).max(initial=0.0)),
        }


@dataclass(frozen=True)
class MotionDistance:
    """Wasserstein-1 distances.

    Attributes:
        speed, acceleration: in percent of the frame's side per frame.
        direction: in degrees, at most 180; NaN if a side does not move at all.
    """

    speed: float
    direction: float
    acceleration: float


def motion_statistics(
    clips: Iterable[Tensor], flow: FlowMethod | None = None, on_clip: Callable[[int], None] = lambda count: None
) -> MotionStatistics:
    """Statistics of clips, each uint8 RGB (T, 3, H, W) of at least three frames, one at a time.

    Raises:
        InputError: a clip is too short, or there is none.
        MissingDependencyError: OpenCV is not installed.
    """
    flow = flow or dis_flow()
    statistics = MotionStatistics()
    for clip in clips:
        if len(clip) < 3:
            raise InputError(f"motion needs clips of at least 3 frames, got {len(clip)}")
        frames = clip.movedim(1, -1).numpy()
        statistics.add_frames(frames)
        statistics.add(flow(first, second) for first, second in itertools.pairwise(frames))
        on_clip(1)
    if not statistics.clips:
        raise InputError("there are no clips to take motion from")
    return statistics


def motion_distance(first: MotionStatistics, second: MotionStatistics) -> MotionDistance:
    """Distances of two sets' motion."""
    width = MAX_SPEED / BINS
    return MotionDistance(
        _wasserstein(first.speed, second.speed) * width,
        _circular_wasserstein(first.direction, second.direction) * (360 / DIRECTION_BINS),
        _wasserstein(first.acceleration, second.acceleration) * width,
    )


def compare_motion(
    fake: ClipSet,
    real: ClipSet,
    sampling: Sampling,
    seeds: Sequence[int] = (0,),
    on_clip: Callable[[int], None] = lambda count: None,
) -> Report:
    """Motion distances of two clip sets for each seed, and of both the means of `MotionStatistics.summary`.

    Raises:
        InputError, DataError: see `motion_statistics` and `ClipSet.clips`.
    """
    started = time.perf_counter()
    names = ("speed", "direction", "acceleration")
    results = {name: SeededValue(f"{name} distance") for name in names}
    means: dict[str, list[dict[str, float]]] = {"fake": [], "real": []}
    distances: dict[str, list[np.ndarray]] = {"fake": [], "real": []}
    clips = {}
    for seed in seeds:
        drawn = replace(sampling, seed=seed)
        found = {}
        for side, clip_set in (("fake", fake), ("real", real)):
            found[side] = motion_statistics(clip_set.clips(drawn), on_clip=on_clip)
            means[side].append(found[side].summary())
            distances[side].append(found[side].distance_from_first)
            clips[side] = found[side].clips
        distance = motion_distance(found["fake"], found["real"])
        for name in names:
            results[name].values.append(getattr(distance, name))
    sides = {}
    for side, clip_set in (("fake", fake), ("real", real)):
        averages = {key: float(np.mean([one[key] for one in means[side]])) for key in means[side][0]}
        sides[side] = {**clip_set.facts(), "clips": clips[side], **averages, "notes": list(clip_set.notes)}
    facts = {
        **sides,
        "units": {
            "speed, acceleration": "percent of the frame's side a frame",
            "displacement": "percent of the frame's side over a clip",
            "straightness": "displacement over the way",
            "return": "share of the distance from the first frame that is lost again",
            "distance_from_first_frame": "levels of 255, after 1, 2, ... frames",
            "direction": "degrees",
        },
        "distance_from_first_frame": {
            side: np.mean(curves, axis=0).round(3).tolist() for side, curves in distances.items()
        },
        "sampling": sampling.facts(),
        "truncation": sampling.truncation,
        "seeds": list(seeds),
        "flow": "OpenCV DIS, preset medium, finest scale 0",
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return Report(list(results.values()), facts, [*frame_rate_warnings(fake, real), *fake.notes, *real.notes])


def _sample_flow(flow: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A flow (H, W, 2) sampled bilinearly at places (..., 2), x then y, in pixels, with border padding."""
    rows_and_columns = np.moveaxis(places[..., ::-1], -1, 0)
    parts = [map_coordinates(flow[..., axis], rows_and_columns, order=1, mode="nearest") for axis in (0, 1)]
    return np.stack(parts, axis=-1)


def _histogram(values: np.ndarray) -> np.ndarray:
    place = (values.ravel() * (BINS / MAX_SPEED)).astype(int).clip(0, BINS - 1)
    return np.bincount(place, minlength=BINS)


def _wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Wasserstein-1 distance of two histograms on a line, in bins: the area between the cumulative distributions."""
    return float(np.abs(_cumulative(first) - _cumulative(second)).sum())


def _circular_wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Wasserstein-1 distance of two histograms on a circle, in bins (Rabin et al. 2011): the minimum over all cuts."""
    if not first.sum() or not second.sum():
        return float("nan")
    gap = _cumulative(first) - _cumulative(second)
    return float(np.abs(gap - np.median(gap)).sum())


def _cumulative(histogram: np.ndarray) -> np.ndarray:
    total = histogram.sum()
    return histogram.cumsum() / total if total else np.full(len(histogram), np.nan)
