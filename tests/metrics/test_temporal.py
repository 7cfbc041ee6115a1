"""Warping error, speeds, occlusion and folding on motions that are known."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gendef.errors import InputError
from gendef.geometry import identity_grid
from gendef.metrics.temporal import folding, temporal, warping_error
from gendef.optical_flow.consistency import backward_warp, visible_in_both
from gendef.optical_flow.dis import dis_flow


def texture(height=48, width=64, seed=0):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width, 3)), (2, 2, 0), mode="wrap")
    return (128 + 400 * noise).clip(0, 255).astype(np.uint8)


def constant_flow(x, y):
    return lambda first, second: np.broadcast_to(np.float32([x, y]), (*first.shape[:2], 2)).copy()


class TestPieces:
    def test_warping_error_by_hand(self):
        first, second = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)
        second[0, 1] = 255  # the flow leads pixel (0, 0) there
        flow = np.zeros((2, 3, 2), np.float32)
        flow[0, 0] = (1, 0)
        everything = np.ones((2, 3), bool)
        # Pixels (0, 0) and (0, 1) both see white, a squared difference of 3, out of six pixels.
        assert warping_error(first, second, flow, everything) == pytest.approx(2 * 3 / 6)
        hidden = everything.copy()
        hidden[0, :2] = False
        assert warping_error(first, second, flow, hidden) == 0
        assert np.isnan(warping_error(first, second, flow, ~everything))

    def test_backward_warp_reads_between_pixels_and_knows_the_edge(self):
        values = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
        moved, inside = backward_warp(values, np.full((3, 4, 2), 0.5, np.float32))
        assert moved[0, 0, 0] == pytest.approx(2.5)
        assert inside[:2, :3].all() and not inside[2].any() and not inside[:, 3].any()

    def test_occlusion_where_the_flows_disagree(self):
        forward = np.zeros((5, 5, 2), np.float32)
        backward = forward.copy()
        backward[2, 2] = (3, 0)
        seen = visible_in_both(forward, backward)
        assert not seen[2, 2] and seen.sum() == 24
        forward[0, 0] = (-1, 0)
        assert not visible_in_both(forward, np.zeros_like(forward))[0, 0]

    def test_optical_flow_finds_a_translation(self):
        first = texture()
        flow = dis_flow()(first, np.roll(first, (1, 2), (0, 1)))
        np.testing.assert_allclose(np.median(flow, axis=(0, 1)), (2, 1), atol=0.1)

    def test_optical_flow_refuses_what_it_cannot_do(self):
        with pytest.raises(InputError, match="at least 16 pixels"):
            dis_flow()(texture(8, 8), texture(8, 8))
        with pytest.raises(InputError, match="one size"):
            dis_flow()(texture(), texture(64))


class TestTemporal:
    def test_a_still_video(self):
        score = temporal([texture()] * 3).summary()
        assert score["pairs"] == 2 and score["warping_error"] == 0 and score["visible_share"] == 1
        assert score["speed_mean"] < 0.01 and score["still_share"] == 1

    def test_known_motion_brings_frames_back(self):
        frames = [np.roll(texture(), 3 * t, axis=1) for t in range(4)]
        flow = iter([constant_flow(3, 0), constant_flow(-3, 0)] * 3)
        score = temporal(frames, flow=lambda a, b: next(flow)(a, b)).summary()
        assert score["warping_error"] == pytest.approx(0, abs=1e-9)
        assert score["visible_share"] == pytest.approx(61 / 64)
        assert score["speed_mean"] == 3 and score["speed_median"] == pytest.approx(3, abs=0.05)
        assert score["still_share"] == 0

    def test_grows_with_flicker(self):
        rng, frames = np.random.default_rng(0), [np.roll(texture(), t, axis=1) for t in range(4)]
        found = []
        for strength in (0, 5, 15, 40):
            shaken = [(frame + rng.normal(0, strength)).clip(0, 255).astype(np.uint8) for frame in frames]
            found.append(temporal(shaken, flow=constant_flow(0, 0)).summary()["warping_error"])
        assert found == sorted(found) and found[-1] > 1.5 * found[0]

    def test_an_edit_is_judged_along_the_motion_of_its_source(self):
        frames = [np.roll(texture(), t, axis=1) for t in range(4)]
        following = [255 - frame for frame in frames]
        staying = [frames[0]] * 4
        flickering = [frame if t % 2 else 255 - frame for t, frame in enumerate(frames)]
        ratios = [temporal(frames, edited).summary()["edit_to_source"] for edited in (following, staying, flickering)]
        assert ratios[0] == pytest.approx(1, abs=1e-4) and ratios[0] < ratios[1] < ratios[2]

    def test_mistakes(self):
        with pytest.raises(InputError, match="fewer than two frames"):
            temporal([texture()])
        with pytest.raises(InputError, match="differ in length: one ends after 2 frames"):
            temporal([texture()] * 3, [texture()] * 2)
        with pytest.raises(InputError, match="differ in size"):
            temporal([texture()] * 2, [texture(64)] * 2)


def test_folding_by_hand():
    grid = identity_grid(8, 8)
    mirrored = torch.stack([-2 * grid[..., 0], torch.zeros(8, 8)], -1)  # x becomes -x: det J = -1 everywhere
    shares = folding(torch.stack([torch.zeros(8, 8, 2), mirrored, torch.zeros(8, 8, 2), torch.zeros(8, 8, 2)]), chunk=3)
    assert shares == {"folded_share": 0.25, "folded_share_worst_frame": 1.0}
