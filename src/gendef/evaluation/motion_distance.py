"""How far the motion of one set of videos is from that of another, from optical flow alone.

Three distributions over pixels and frames are compared by their Wasserstein-1 distance: speed, direction (each pixel
with the weight of its speed) and acceleration (change of the flow at a pixel from one pair of frames to the next). No
network is involved, so that it can be computed anywhere, and it says in which way two sets differ. None of the three
tells swaying from drifting on: straightness, net displacement over the way that led to it, does.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import map_coordinates
from torch import Tensor

from gendef.errors import InputError
from gendef.evaluation.clip_sets import ClipSet
from gendef.evaluation.report import Report, SeededValue, versions
from gendef.evaluation.sampling import Sampling
from gendef.optical_flow.dis import FlowMethod, dis_flow

MAX_SPEED = 50.0
"""Percent of the frame's side a frame; what is faster counts as this."""
BINS = 5000
DIRECTION_BINS = 360


@dataclass
class MotionStatistics:
    """Histograms of motion; lengths are in percent of the frame's side a frame, so that sizes compare.

    Attributes:
        speed: (BINS,), counts of pixels.
        acceleration: (BINS,), the same.
        direction: (DIRECTION_BINS,), sums of speed; the first bin begins in the direction of x, y points down.
        way: sum over pixels and clips of the way that the content of a clip's first frame goes along the flow; where it
            leaves the frame it goes on as the border does.
        displacement: sum of the straight distances between the beginnings and the ends of these ways.
        starts: pixels that were followed.
        clips: how many clips.
    """

    speed: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    acceleration: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    direction: np.ndarray = field(default_factory=lambda: np.zeros(DIRECTION_BINS))
    way: float = 0.0
    displacement: float = 0.0
    starts: int = 0
    clips: int = 0

    def add(self, flows: Iterable[np.ndarray]) -> None:
        """Take in the flows (H, W, 2) of a clip, in pixels, one after the other."""
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
            step = _read(percent, place)
            self.way += float(np.linalg.norm(step, axis=-1).sum())
            place = place + step * (max(flow.shape[:2]) / 100)
            before = percent
        if before is not None:
            self.displacement += float(np.linalg.norm(place - start, axis=-1).sum()) * (100 / max(start.shape[:2]))
            self.starts += start.shape[0] * start.shape[1]
        self.clips += 1

    def summary(self) -> dict[str, float]:
        """Mean speed and acceleration, percent of the side a frame; mean displacement over a clip, percent of the side;
        straightness, the share of the way that it is: 1 for what drifts on, 0 for what sways or does not move."""
        centres = (np.arange(BINS) + 0.5) * (MAX_SPEED / BINS)
        return {
            "speed": float((self.speed * centres).sum() / self.speed.sum()),
            "acceleration": float((self.acceleration * centres).sum() / self.acceleration.sum()),
            "displacement": self.displacement / max(self.starts, 1),
            "straightness": self.displacement / self.way if self.way else 0.0,
        }


@dataclass(frozen=True)
class MotionDistance:
    """Wasserstein-1 distances.

    Attributes:
        speed, acceleration: in percent of the frame's side a frame.
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
    clips = {}
    for seed in seeds:
        drawn = replace(sampling, seed=seed)
        found = {}
        for side, clip_set in (("fake", fake), ("real", real)):
            found[side] = motion_statistics(clip_set.clips(drawn), on_clip=on_clip)
            means[side].append(found[side].summary())
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
            "direction": "degrees",
        },
        "sampling": sampling.facts(),
        "truncation": sampling.truncation,
        "seeds": list(seeds),
        "flow": "OpenCV DIS, preset medium, finest scale 0",
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return Report(list(results.values()), facts, [*fake.notes, *real.notes])


def _read(flow: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A flow (H, W, 2) at places (..., 2), x then y, in pixels; outside that of the border."""
    rows_and_columns = np.moveaxis(places[..., ::-1], -1, 0)
    parts = [map_coordinates(flow[..., axis], rows_and_columns, order=1, mode="nearest") for axis in (0, 1)]
    return np.stack(parts, axis=-1)


def _histogram(values: np.ndarray) -> np.ndarray:
    place = (values.ravel() * (BINS / MAX_SPEED)).astype(int).clip(0, BINS - 1)
    return np.bincount(place, minlength=BINS)


def _wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Between histograms on a line, in bins: the area between the cumulative distributions."""
    return float(np.abs(_cumulative(first) - _cumulative(second)).sum())


def _circular_wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Between histograms on a circle, in bins (Rabin et al. 2011): the line's, cut where it is cheapest."""
    if not first.sum() or not second.sum():
        return float("nan")
    gap = _cumulative(first) - _cumulative(second)
    return float(np.abs(gap - np.median(gap)).sum())


def _cumulative(histogram: np.ndarray) -> np.ndarray:
    total = histogram.sum()
    return histogram.cumsum() / total if total else np.full(len(histogram), np.nan)
