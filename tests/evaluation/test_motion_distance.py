"""Motion distances on flows that are known."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from gendef.errors import InputError
from gendef.evaluation.motion_distance import (
    MotionStatistics,
    compare_motion,
    motion_distance,
    motion_statistics,
)
from gendef.evaluation.open_clips import open_clips
from gendef.evaluation.sampling import Sampling


def statistics(*flows):
    made = MotionStatistics()
    made.add([np.asarray(flow, np.float32) for flow in flows])
    return made


def uniform(x, y, side=20):
    return np.broadcast_to(np.float32([x, y]), (side, side, 2))


def test_translations_by_hand():
    # 0.5 and 0.8 pixels of 20 are 2.5 and 4 percent; directions 0 and 90 degrees; both without acceleration.
    found = motion_distance(statistics(*[uniform(0.5, 0)] * 3), statistics(*[uniform(0, 0.8)] * 3))
    assert found.speed == pytest.approx(1.5, abs=0.011)
    assert found.direction == pytest.approx(90, abs=1)
    assert found.acceleration == 0


def test_directions_are_on_a_circle():
    near = motion_distance(statistics(uniform(1, -0.02)), statistics(uniform(1, 0.02)))
    assert near.direction < 4
    opposite = motion_distance(statistics(uniform(1, 0)), statistics(uniform(-1, 0)))
    assert opposite.direction == pytest.approx(180, abs=1)


def test_acceleration_by_hand():
    steady, jerky = statistics(*[uniform(1, 0)] * 3), statistics(uniform(1, 0), uniform(0, 0), uniform(1, 0))
    assert motion_distance(steady, jerky).acceleration == pytest.approx(5, abs=0.011)
    assert jerky.summary()["acceleration"] == pytest.approx(5, abs=0.011)


def test_straightness_by_hand():
    drift, sway = statistics(*[uniform(0.5, 0)] * 6), statistics(*[uniform(0.5, 0), uniform(-0.5, 0)] * 3)
    turn = statistics(*[uniform(3, 0)] * 2, *[uniform(0, 4)] * 2)
    # 0.5 pixels of 20 are 2.5 percent.
    assert drift.summary()["straightness"] == pytest.approx(1) and drift.summary()["displacement"] == pytest.approx(15)
    assert sway.summary()["straightness"] == pytest.approx(0, abs=1e-6)
    assert turn.summary()["straightness"] == pytest.approx(10 / 14)
    assert turn.summary()["displacement"] == pytest.approx(50)
    assert statistics(*[uniform(0, 0)] * 2).summary()["straightness"] == 0


def test_return_by_hand():
    """Grey levels of whole frames say how far each is from the first one."""

    def clip(*levels):
        return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16)

    def still(first, second):
        return np.zeros((*first.shape[:2], 2), np.float32)

    swinging = motion_statistics([clip(10, 50, 90, 50, 10), clip(20, 60, 100, 60, 20)], still)
    assert swinging.distance_from_first.tolist() == [40, 80, 40, 0] and swinging.summary()["return"] == 1
    half = motion_statistics([clip(0, 80, 20)], still)
    assert half.summary()["return"] == pytest.approx(0.75)
    assert motion_statistics([clip(0, 10, 30)], still).summary()["return"] == 0
    assert motion_statistics([clip(5, 5, 5)], still).summary()["return"] == 0


def test_content_is_followed_not_pixels():
    # What lies at the left moves right, into a part that stands still: of a way of 8 pixels on, only 4 are gone.
    flow = np.zeros((20, 20, 2), np.float32)
    flow[:, :2, 0] = 4
    found = statistics(flow, flow)
    assert found.displacement == pytest.approx(2 * 20 * 20) and found.way == pytest.approx(found.displacement)


def test_speed_agrees_with_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.gamma(2, 0.3, (10, 30, 30)), rng.gamma(3, 0.3, (10, 30, 30))
    expected = wasserstein_distance(first.ravel() / 0.3, second.ravel() / 0.3)
    flows = [[np.stack([0 * s, s], -1) for s in speeds] for speeds in (first, second)]
    assert motion_distance(*(statistics(*flow) for flow in flows)).speed == pytest.approx(expected, abs=0.01)


def test_slower_clips_are_further_away(clips, archive):
    """Clips whose time is stretched differ more the more it is."""
    real = archive("real.zip", clips(6, 0, frames=12, side=32))
    found = [motion_statistics(open_clips(str(real)).clips(Sampling(frames=4, stride=step))) for step in (3, 2, 1)]
    distances = [motion_distance(found[0], other).speed for other in found]
    assert distances[0] == 0 and distances == sorted(distances) and distances[-1] > 0.5


def test_report(clips, archive):
    real = open_clips(str(archive("real.zip", clips(4, 0, frames=8, side=32))))
    other = open_clips(str(archive("other.zip", clips(4, 1, frames=8, side=32))))
    counts = []
    report = compare_motion(other, real, Sampling(frames=4), [0, 1], counts.append).to_dict()
    assert sum(counts) == 16 and report["real"]["clips"] == 4 and report["real"]["speed"] > 0.1
    assert len(report["results"]["speed distance"]["values"]) == 2
    same = compare_motion(real, real, Sampling(frames=4)).to_dict()["results"]
    assert [same[f"{name} distance"]["mean"] for name in ("speed", "direction", "acceleration")] == [0, 0, 0]


def test_mistakes():
    with pytest.raises(InputError, match="at least 3 frames, got 2"):
        motion_statistics([torch.zeros(2, 3, 16, 16, dtype=torch.uint8)])
    with pytest.raises(InputError, match="no clips"):
        motion_statistics([])
    assert np.isnan(motion_distance(statistics(uniform(0, 0)), statistics(uniform(1, 0))).direction)
