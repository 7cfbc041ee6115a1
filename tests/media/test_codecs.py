"""What is written, as libav reads it again."""

from pathlib import Path

import av
import numpy as np
import pytest
from tests.media.test_video_writer import gradient

from gendef.errors import InputError
from gendef.media.audio import Soundtrack
from gendef.media.codecs import CODECS
from gendef.media.colour import ColourTags
from gendef.media.video_file import decode_video, examine_video
from gendef.media.video_writer import write_video

FOOTAGE = Path(__file__).parents[1] / "data" / "footage"
FILES = {"h264": "a.mp4", "hevc": "a.mp4", "prores": "a.mov", "prores4444": "a.mov", "ffv1": "a.mkv", "vp9": "a.webm"}


@pytest.mark.parametrize("codec", CODECS)
def test_pixels_and_sound_come_back(tmp_path, codec):
    frames = [gradient(48, 64, 10 * t) for t in range(10)]
    path = tmp_path / FILES[codec]
    write_video(path, frames, 25, codec=codec, enlarge=False, sound=Soundtrack(FOOTAGE / "clip.m2ts", 0.1, 0.4))
    again = np.stack([frame.image for frame in decode_video(path)])
    assert again.shape == (10, 48, 64, 3)
    error = np.abs(again.astype(float) - np.stack(frames)).mean()
    assert error < 3 if codec != "ffv1" else error == 0
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        assert samples / stream.codec_context.sample_rate == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("codec", ["prores4444", "ffv1", "vp9"])
def test_alpha_comes_back(tmp_path, codec):
    alpha = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 48, 0)
    frames = [np.dstack((gradient(48, 64, t), alpha)) for t in range(3)]
    write_video(tmp_path / FILES[codec], frames, 25, codec=codec, enlarge=False)
    for frame in decode_video(tmp_path / FILES[codec]):
        assert np.abs(frame.alpha.astype(int) - alpha).max() <= 4


def test_tags_and_ten_bits(tmp_path):
    deep = np.linspace(0, 65535, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint16)
    write_video(tmp_path / "a.mp4", [deep] * 2, 25, codec="hevc", tags=ColourTags(9, 18, 9), enlarge=False)
    facts = examine_video(tmp_path / "a.mp4")
    assert facts.bits == 10 and facts.tags == ColourTags(9, 18, 9)
    assert len({*np.unique(deep >> 6)}) > 256


@pytest.mark.parametrize(("height", "matrix"), [(720, 1), (718, 6)])
def test_without_tags_the_size_decides(tmp_path, height, matrix):
    colours = np.zeros((height, 64, 3), np.uint8)
    colours[:, :] = (200, 40, 90)
    write_video(tmp_path / "a.mp4", [colours] * 2, 25, enlarge=False)
    assert examine_video(tmp_path / "a.mp4").tags.matrix == matrix
    (first, _) = decode_video(tmp_path / "a.mp4")
    assert np.abs(first.image.astype(int) - colours).max() <= 2


def test_times_come_back(tmp_path):
    times = [0.0, 0.04, 0.44, 0.5]
    write_video(tmp_path / "a.mp4", [gradient(48, 64, t) for t in range(4)], 25, times=times)
    assert [frame.time for frame in decode_video(tmp_path / "a.mp4")] == pytest.approx(times, abs=1e-3)


def test_a_suffix_of_another_container_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.mov"):
        write_video(tmp_path / "a.mp4", [gradient(48, 64, 0)], 25, codec="prores")
    with pytest.raises(InputError, match="dv"):
        write_video(tmp_path / "a.mp4", [gradient(48, 64, 0)], 25, codec="dv")
    assert list(tmp_path.iterdir()) == []
