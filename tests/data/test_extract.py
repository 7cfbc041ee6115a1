"""What is done to the frames of one source."""

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gendef.data.extract import PrepareConfig, crop_boxes, encode, extract, to_square
from gendef.errors import ConfigError, DataError
from gendef.media.sources import discover


@pytest.fixture
def run(tmp_path):
    """`run(path, ...)`: the extraction of one source, and its frames decoded clip by clip."""

    def go(path, **settings):
        config = PrepareConfig(**{"resolution": 16, "format": "png", "min_frames": 1, **settings})
        result = extract(discover([path])[0], config, tmp_path / "spool")
        data = (tmp_path / "spool").read_bytes()
        clips = [
            np.stack([np.asarray(Image.open(io.BytesIO(data[o : o + n])).convert("RGB")) for o, n in clip.spans])
            for clip in result.clips
        ]
        return result, clips

    return go


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"resolution": 0}, "resolution must be at least 1, got 0"),
        ({"resolution": -64}, "resolution must be at least 1, got -64"),
        ({"resolution": 100_000}, "resolution must be at most 4096"),
        ({"crops": 0}, "crops must be at least 1"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"min_frames": 0}, "min_frames must be at least 1"),
        ({"clip_frames": 2}, "clip_frames must be at least min_frames"),
        ({"fps": 0.0}, "fps must be positive"),
        ({"fps": float("nan")}, "fps must be positive"),
        ({"fps": 5.0, "stride": 2}, "either fps or stride"),
        ({"quality": 101}, "quality must be between"),
        ({"format": "bmp"}, "format must be one of"),
        ({"fit": "pad"}, "fit must be one of"),
        ({"labels": "file"}, "labels must be one of"),
        ({"fit": "stretch", "crops": 2}, "no crops"),
    ],
)
def test_impossible_settings_are_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        PrepareConfig(**settings)


def test_crop_boxes():
    assert crop_boxes(100, 60, 1) == [(20, 0, 80, 60)]
    assert crop_boxes(60, 100, 3) == [(0, 20, 60, 80)]
    assert crop_boxes(160, 80, 3) == [(0, 0, 80, 80), (40, 0, 120, 80), (80, 0, 160, 80)]
    assert crop_boxes(80, 80, 4) == [(0, 0, 80, 80)]
    assert len(crop_boxes(100, 80, 5)) == 3


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 20))
def test_crop_boxes_are_squares_inside_and_apart(width, height, count):
    boxes = crop_boxes(width, height, count)
    assert 1 <= len(boxes) <= count
    for left, top, right, bottom in boxes:
        assert right - left == bottom - top == min(width, height)
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
    lefts = [box[0] for box in boxes]
    assert all(b - a >= height // 8 for a, b in pairwise(lefts))
    if len(boxes) > 1:
        assert lefts[0] == 0 and boxes[-1][2] == width


def test_resize_is_antialiased_and_keeps_the_mean():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = np.asarray(to_square(Image.fromarray(stripes), (0, 0, 64, 64), 8))
    assert np.abs(small.astype(int) - 127.5).max() < 3


def test_resize_keeps_positions():
    """A linear ramp stays one: value a + b (i + 0.5) / N at pixel i of N, away from the borders."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 256, axis=0).repeat(3, axis=2)
    small = np.asarray(to_square(Image.fromarray(ramp), (0, 0, 256, 256), 32)).astype(float)
    expected = (np.arange(32) + 0.5) * 8 - 0.5
    assert np.abs(small[16, 3:-3, 0] - expected[3:-3]).max() <= 1


def test_frames_of_the_right_size_are_untouched(run, tmp_path, write_folder, pan):
    frames = pan(5, 16, 16)
    result, clips = run(write_folder(tmp_path / "clip", frames))
    np.testing.assert_array_equal(clips[0], frames)
    assert result.enlarged_from is None and result.frames_read == 5


@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
def test_encodings(kind, pan):
    frame = pan(1, 64, 64)[0]
    image = Image.open(io.BytesIO(encode(Image.fromarray(frame), PrepareConfig(format=kind))))
    assert image.format == kind.upper()
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).mean() < (0.01 if kind == "png" else 4)


def test_jpeg_keeps_colour_at_full_resolution():
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[:, ::2] = (255, 0, 0)
    frame[:, 1::2] = (0, 0, 255)
    image = Image.open(io.BytesIO(encode(Image.fromarray(frame), PrepareConfig(quality=95))))
    assert np.abs(np.asarray(image).astype(int) - frame).mean() < 20


def test_crops_and_stretch(run, tmp_path, write_folder, pan):
    frames = pan(4, 16, 48, speed=0)
    path = write_folder(tmp_path / "wide", frames)
    _, clips = run(path, crops=3)
    assert len(clips) == 3
    for clip, left in zip(clips, (0, 16, 32), strict=True):
        np.testing.assert_array_equal(clip, frames[:, :, left : left + 16])
    _, [stretched] = run(path, fit="stretch")
    columns = frames.reshape(4, 16, 16, 3, 3).mean(axis=3)
    assert np.abs(stretched.astype(float) - columns).mean() < 4


def test_stride_and_clip_frames(run, tmp_path, write_folder, pan):
    frames = pan(25, 16, 16)
    path = write_folder(tmp_path / "clip", frames)
    result, clips = run(path, stride=3, clip_frames=4)
    assert [len(clip) for clip in clips] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(clips), frames[::3])
    assert [clip.first_frame for clip in result.clips] == [0, 12, 24]
    assert result.clips[0].fps == pytest.approx(25 / 3)
    result, clips = run(path, stride=3, clip_frames=4, min_frames=2)
    assert [len(clip) for clip in clips] == [4, 4] and result.dropped == 1


@pytest.mark.parametrize(("fps", "expected"), [(10, 10), (5, 5), (4, 4), (3, 3), (30, 10)])
def test_fps(run, tmp_path, write_video, pan, fps, expected):
    path = write_video(tmp_path / "v.mp4", pan(21, 16, 16), 10)
    result, clips = run(path, fps=float(fps))
    assert result.clips[0].fps == pytest.approx(expected)
    assert len(clips[0]) == {10: 21, 5: 11, 4: 9, 3: 7}[expected]
    assert (result.slower_fps is not None) == (fps == 30)


def test_fps_follows_the_times_of_the_frames(run, tmp_path, pan):
    """A gif whose first frames are shown ten times longer."""
    path = tmp_path / "slow.gif"
    images = [Image.fromarray(frame) for frame in pan(20, 16, 16)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=[500] * 4 + [50] * 16, loop=0)
    _, clips = run(path, fps=2.0)
    assert 4 <= len(clips[0]) <= 7


def test_scene_cuts_and_damage_split_clips(run, tmp_path, write_folder, pan):
    frames = np.concatenate((pan(10, 32, 32, 1), pan(12, 32, 32, 2)))
    path = write_folder(tmp_path / "clip", frames)
    result, clips = run(path)
    assert [len(clip) for clip in clips] == [10, 12] and result.cuts == 1
    assert [len(clip) for clip in run(path, cut_scenes=False)[1]] == [22]
    (path / "14.png").write_bytes(b"broken")
    result, clips = run(path)
    assert [len(clip) for clip in clips] == [10, 4, 7]
    assert [damage.where for damage in result.damages] == ["14.png"]
    assert [clip.first_frame for clip in result.clips] == [0, 10, 15]


def test_no_clip_goes_over_a_change_of_size(run, tmp_path, write_folder, pan):
    path = write_folder(tmp_path / "clip", pan(4, 20, 20))
    for index, frame in enumerate(pan(5, 20, 30)):
        Image.fromarray(frame).save(path / f"x{index}.png")
    result, clips = run(path)
    assert [len(clip) for clip in clips] == [4, 5]
    assert result.clips[1].box == (5, 0, 25, 20)


def test_small_frames_are_enlarged_and_reported(run, tmp_path, write_folder, pan):
    result, clips = run(write_folder(tmp_path / "clip", pan(4, 12, 20)))
    assert clips[0].shape == (4, 16, 16, 3)
    assert result.enlarged_from == (20, 12)


def test_nothing_readable_is_an_error(run, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="no readable frame"):
        run(folder)
