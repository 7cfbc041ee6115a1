import math

import numpy as np
import pytest
import torch

from gendef.errors import InputError
from gendef.fitting.camera import still_camera
from gendef.fitting.initial_field import initial_fields
from gendef.optical_flow.pairwise_flow import (
    INTERVALS,
    Flows,
    all_flows,
    compute_flows,
    weighted_by_chain,
)
from gendef.runtime.parallel import workers

SIZE = (24, 32)
STEP = 2.0
"""Pixels a frame by which everything moves to the right."""


def moving(count, interval):
    """Flows of a picture that moves to the right."""
    forward = torch.zeros(count - interval, 2, *SIZE)
    forward[:, 0] = STEP * interval
    return Flows(forward, -forward, torch.ones(len(forward), *SIZE), torch.ones(len(forward), *SIZE), interval)


def started(flows, count=9):
    frames = torch.zeros(count, 3, *SIZE)
    with workers() as pool:
        return initial_fields(frames, still_camera(count, *SIZE, count // 2), flows, pool)


def pixels(start):
    """Deviations in pixels, x then y."""
    return start.deviation * torch.tensor([SIZE[1] / 2, SIZE[0] / 2])[:, None, None]


@pytest.mark.parametrize("intervals", [(1,), (1, 4)])
def test_places_follow_a_known_motion_in_both_directions(intervals):
    start = started([moving(9, interval) for interval in intervals])
    found = pixels(start)[:, :, :, 8:-8]
    for t in range(9):
        torch.testing.assert_close(found[t, 0], torch.full_like(found[t, 0], -STEP * (t - 4)), atol=1e-4, rtol=0)
        assert float(found[t, 1].abs().max()) < 1e-4
    assert float(start.trust[4].min()) == 1 and not start.deviation[4].any()
    assert float(start.trust[1].max()) < float(start.trust[3].max()) < 1, "trust falls with every hop"


def test_a_long_hop_passes_over_a_lost_frame():
    near, far = moving(9, 1), moving(9, 4)
    near.backward[5] = 7.0  # from frame 6 to frame 5: wrong,
    near.backward_trust[5] = 0.0  # and known to be
    lost, led = started([near]), started([near, far])
    want = -STEP * 4
    assert float((pixels(led)[8, 0, :, 8:-8] - want).abs().max()) < 1e-3
    assert float(led.trust[8, :, 8:-8].min()) > 0.9
    assert float(lost.trust[8].max()) < 0.2, "the short chain is broken and says so"


def test_a_hop_between_other_colours_is_avoided():
    near, far = moving(9, 1), moving(9, 4)
    far.backward[:, 0], far.forward[:, 0] = 3.0, -3.0  # there and back agree, on a wrong motion
    torch.manual_seed(0)
    world = torch.rand(3, SIZE[0], 64) * 2 - 1
    frames = torch.stack([world[:, :, 24 - round(STEP * t) :][:, :, : SIZE[1]] for t in range(9)])
    with workers() as pool:
        start = initial_fields(frames, still_camera(9, *SIZE, 4), [near, far], pool)
    right = (pixels(start)[8, 0, :, 8:-8] + 4 * STEP).abs() < 0.1
    assert float(right.float().mean()) > 0.9


def test_where_no_flow_leads_surroundings_are_continued():
    flows = moving(3, 1)
    flows.backward[1, :, 8:16, 12:20] = 50.0
    flows.backward_trust[1, 8:16, 12:20] = 0.0
    start = started([flows], 3)
    hole, beside = pixels(start)[2, 0, 8:16, 12:20], -STEP
    assert float((hole - beside).abs().max()) < 0.3
    assert float(start.trust[2, 8:16, 12:20].max()) < 0.2 < float(start.trust[2, :7, 8:-8].min())


def test_long_hops_count_where_short_ones_lead_to_the_same_place():
    near, far = moving(9, 1), moving(9, 4)
    far.forward[2, 0] += 1.0  # a pixel more than the short hops: a little drift is what it is there to mend
    far.forward[3, 0] += 9.0
    near.backward_trust[4] = 0.5
    found = weighted_by_chain(far, near)
    inner = (slice(None), slice(0, 20))  # short hops that leave the picture are not looked at
    assert float(found.forward_trust[0][inner].min()) == 1
    assert float(found.forward_trust[2][inner].max()) == pytest.approx(math.exp(-1 / 4), abs=1e-5)
    assert float(found.forward_trust[3][inner].max()) < 1e-6
    assert found.backward_trust[1].unique().tolist() == pytest.approx([0.5]) and far.backward_trust[1].min() == 1
    assert torch.equal(found.forward, far.forward)


def test_flows_over_every_interval(pixels_that_move):
    shares = []
    flows = all_flows(pixels_that_move, shift_of, shares.append)
    assert [one.interval for one in flows] == list(INTERVALS)
    assert shares == sorted(shares) and shares[-1] == 1
    for one in flows:
        assert len(one.forward) == len(pixels_that_move) - one.interval
        flow, trust = one.between(0, one.interval)
        back, _ = one.between(one.interval, 0)
        assert float(flow[0].mean()) == 2 * one.interval == -float(back[0].mean())
        assert float(trust[:, : -2 * one.interval].min()) == 1 and float(trust[:, -2 * one.interval :].max()) == 0
    assert len(compute_flows(pixels_that_move[:2], shift_of, 4).forward) == 0, "fewer frames than the interval"


@pytest.fixture
def pixels_that_move():
    """Frames whose number is their colour, standing for a picture that moves 2 pixels a frame."""
    return [np.full((20, 30, 3), number, np.uint8) for number in range(6)]


def shift_of(first, second):
    flow = np.zeros((*first.shape[:2], 2), np.float32)
    flow[..., 0] = 2.0 * (int(second[0, 0, 0]) - int(first[0, 0, 0]))
    return flow


@pytest.mark.parametrize("bad", [np.zeros((20, 29, 2)), np.full((20, 30, 2), np.nan)])
def test_a_bad_flow_method_is_named(pixels_that_move, bad):
    with pytest.raises(InputError, match="the flow method gave"):
        compute_flows(pixels_that_move, lambda one, two: bad)
