from fractions import Fraction

import pytest
from PIL import Image
from tests.media.test_video_writer import gradient

from gendef.errors import InputError
from gendef.media.animated_pictures import write_gif, write_webp
from gendef.media.frame_times import durations_ms, exact_rate, varying_times


def test_ntsc_rates_are_exact():
    assert exact_rate(29.97) == exact_rate(30000 / 1001) == Fraction(30000, 1001)
    assert exact_rate(23.976) == Fraction(24000, 1001)
    assert exact_rate(25) == 25 and exact_rate(12.5) == Fraction(25, 2)
    with pytest.raises(InputError, match="1052631"):
        exact_rate(1052631)


def test_constant_and_varying_times():
    assert varying_times([1 + t / 25 for t in range(9)], 25) is None
    assert varying_times([0, 0.04, 0.5], 25) == [0, 0.04, 0.5]
    with pytest.raises(InputError):
        varying_times([0, 0.04, 0.04], 25)


@pytest.mark.parametrize(("write", "suffix", "step"), [(write_gif, "gif", 10), (write_webp, "webp", 1)])
def test_delays_keep_time(tmp_path, write, suffix, step):
    frames = [gradient(32, 48, 10 * t) for t in range(12)]
    write(tmp_path / f"a.{suffix}", frames, 30000 / 1001)
    shown = delays(tmp_path / f"a.{suffix}")
    assert sum(shown) == pytest.approx(12 * 1001 / 30, abs=step / 2)  # 400 ms; 12 delays of 30 ms would be 360
    times = [0.0, 0.04, 0.44, 0.48]
    write(tmp_path / f"b.{suffix}", frames[:4], 25, times)
    assert delays(tmp_path / f"b.{suffix}") == [40, 400, 40, 40]


def test_no_frame_is_too_short_for_players():
    assert min(durations_ms(20, 1000, None, 10)) == 20


def delays(path):
    with Image.open(path) as picture:
        found = []
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            found.append(round(picture.info["duration"]))
        return found
