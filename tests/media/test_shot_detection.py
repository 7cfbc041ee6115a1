"""Scene cuts: found at cuts, not in motion, fades or flashes."""

import numpy as np
import pytest

from gendef.media.shot_detection import Signature


def cuts(frames: np.ndarray) -> list[int]:
    signature = Signature()
    for frame in frames:
        signature.append(frame)
    assert len(signature) == len(frames)
    return signature.cuts()


def test_cut_between_two_moving_shots(pan):
    shots = [pan(20, 144, 256, seed, 4) for seed in (1, 2, 3)]
    assert cuts(np.concatenate(shots)) == [20, 40]


def test_cut_between_two_still_shots(pan):
    first, second = pan(1, seed=1)[0], pan(1, seed=2)[0]
    assert cuts(np.stack([first] * 5 + [second] * 5)) == [5]


@pytest.mark.parametrize("speed", [0, 1, 4, 16])
def test_no_cut_in_a_pan(pan, speed):
    assert cuts(pan(40, 72, 128, 5, speed)) == []


def test_no_cut_when_motion_starts_suddenly(pan):
    moving = pan(20, 72, 128, 5, 12)
    assert cuts(np.concatenate((np.repeat(moving[:1], 20, axis=0), moving))) == []


def test_no_cut_in_a_fade(pan):
    first, second = pan(1, seed=1)[0].astype(float), pan(1, seed=2)[0].astype(float)
    weights = np.clip((np.arange(60) - 20) / 20, 0, 1)[:, None, None, None]
    assert cuts(((1 - weights) * first + weights * second).round().astype(np.uint8)) == []


def test_no_cut_in_a_fade_to_black(pan):
    weights = np.linspace(1, 0, 25)[:, None, None, None]
    assert cuts((pan(25, seed=3) * weights).astype(np.uint8)) == []


def test_no_cut_at_lightning(pan):
    frames = pan(30, seed=4).copy()
    frames[12:14] = 255
    assert cuts(frames) == []


def test_a_short_shot_between_two_others_is_no_flash(pan):
    shots = [pan(20, seed=1), pan(2, seed=2), pan(20, seed=3)]
    assert cuts(np.concatenate(shots)) == [20, 22]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_frames(pan, count):
    assert cuts(pan(3)[:count]) == []
