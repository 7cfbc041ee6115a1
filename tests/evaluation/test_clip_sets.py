"""Which clips are drawn, and reading them from every kind of source."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo, GenDeF
from gendef.errors import DataError, InputError
from gendef.evaluation.clip_sets import SEEDS_APART, CanonicalImages, frame_rate_warnings, square
from gendef.evaluation.open_clips import open_clips
from gendef.evaluation.sampling import Sampling, draw_windows
from gendef.media.images import to_uint8
from gendef.media.video_writer import write_video


class TestDrawing:
    def test_one_clip_a_video(self):
        windows = draw_windows([20, 4, 8, 100], Sampling(frames=4, stride=2, count=99), "x")
        assert [video for video, _ in windows] == [0, 2, 3]
        for video, start in windows:
            assert 0 <= start <= [20, 4, 8, 100][video] - 7

    def test_every_place_is_drawn(self):
        starts = {draw_windows([6], Sampling(frames=4, seed=seed), "x")[0][1] for seed in range(60)}
        assert starts == {0, 1, 2}

    def test_side_by_side(self):
        for seed in range(20):
            windows = draw_windows([11, 3], Sampling(frames=3, clips_per_video=0, seed=seed), "x")
            starts = [start for video, start in windows if video == 0]
            assert len(starts) == 3 and np.diff(starts).tolist() == [3, 3] and 0 <= starts[0] <= 2
            assert windows[-1] == (1, 0)

    def test_several_spread_over_the_video(self):
        windows = draw_windows([103], Sampling(frames=4, clips_per_video=10), "x")
        assert all(10 * index <= start < 10 * (index + 1) for index, (_, start) in enumerate(windows))
        # No more than there are different ones.
        assert draw_windows([5], Sampling(frames=4, clips_per_video=10), "x") == [(0, 0), (0, 1)]

    def test_count_and_seed(self):
        lengths = [50] * 40
        first, again, other = (draw_windows(lengths, Sampling(count=7, seed=seed), "x") for seed in (3, 3, 4))
        assert len(first) == 7 and first == again != other
        assert first == sorted(first) and len({video for video, _ in first}) == 7

    def test_nothing_long_enough(self):
        with pytest.raises(
            DataError, match=r"no video of x has the 121 frames .* at stride 8 spans; the longest has 50"
        ):
            draw_windows([50, 20], Sampling(stride=8), "x")

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"frames": 0}, "frames must be at least 1, got 0"),
            ({"size": 4}, "size must be between 8 and 4096 pixels, got 4"),
            ({"fit": "pad"}, "crop or stretch, got 'pad'"),
            ({"clips_per_video": -1}, "at least 0, got -1"),
        ],
    )
    def test_mistakes(self, wrong, message):
        with pytest.raises(InputError, match=message):
            Sampling(**wrong)


def test_square_crops_the_centre_or_stretches():
    frame = np.zeros((10, 20, 3), np.uint8)
    frame[:, 5:15] = 200
    assert (square(frame, Sampling()) == 200).all() and square(frame, Sampling()).shape == (3, 10, 10)
    stretched = square(frame, Sampling(fit="stretch", size=20))
    assert stretched.shape == (3, 20, 20) and (stretched[:, :, 0] == 0).all() and (stretched[:, :, 10] == 200).all()


def test_archive(clips, archive):
    made = clips(3, 0, frames=9)
    source = open_clips(str(archive("a.zip", made)))
    sampling = Sampling(frames=4, stride=2)
    found = list(source.clips(sampling))
    for (video, start), clip in zip(source.windows(sampling), found, strict=True):
        assert torch.equal(clip, made[video, start : start + 7 : 2])
    assert next(source.clips(Sampling(frames=4, size=8))).shape == (4, 3, 8, 8)


def test_folder_of_videos(clips, tmp_path):
    made = clips(3, 0, frames=12, side=64)
    for number, clip in enumerate(made):
        frames = clip[: 2 if number == 2 else 12].movedim(1, -1).numpy()
        write_video(tmp_path / "v" / f"{number}.mp4", frames, 10, enlarge=False)
    source = open_clips(str(tmp_path / "v"))
    sampling = Sampling(frames=3, stride=2, clips_per_video=4)
    windows, found = source.windows(sampling), list(source.clips(sampling))
    assert len(found) == len(windows) == 8
    assert "1 of 3 videos" in source.notes[0] and "shorter than 5 frames" in source.notes[0]
    for (video, start), clip in zip(windows, found, strict=True):
        difference = clip.float() - made[video, start : start + 5 : 2].float()
        assert difference.abs().mean() < 6  # H.264 at its finest, colours at half resolution
    single = open_clips(str(tmp_path / "v" / "0.mp4"))
    assert len(list(single.clips(Sampling(frames=3)))) == 1
    assert single.fingerprint != source.fingerprint


def test_a_damaged_video_is_left_out_and_noted(clips, tmp_path):
    for number, clip in enumerate(clips(2, 0, frames=12, side=64)):
        write_video(tmp_path / f"{number}.mp4", clip.movedim(1, -1).numpy(), 10, enlarge=False)
    (tmp_path / "1.mp4").write_bytes(b"no video at all")
    source = open_clips(str(tmp_path))
    assert len(list(source.clips(Sampling(frames=3)))) == 1
    assert "1.mp4" in source.notes[0] and "left out" in source.notes[0]


def test_saved_clips_are_rendered_not_their_previews(tmp_path):
    torch.manual_seed(0)
    made = CanonicalVideo(torch.rand(3, 16, 16), torch.rand(6, 16, 16, 2) * 0.1, 10)
    made.save(tmp_path / "seed0000")
    made.to_mp4(tmp_path / "seed0000.mp4")
    source = open_clips(str(tmp_path))
    (clip,) = source.clips(Sampling(frames=6))
    assert source.kind == "saved clips"
    assert np.array_equal(clip.movedim(1, -1).numpy(), to_uint8(made.render()))


def test_model(model_folder):
    source = open_clips(str(model_folder))
    sampling = Sampling(frames=3, stride=4, count=2, seed=5, truncation=0.5, start="zero")
    first, second = source.clips(sampling)
    expected = GenDeF.from_pretrained(model_folder).sample(5 * SEEDS_APART + 1, 9, truncation=0.5).render()[::4]
    assert np.abs(second.movedim(1, -1).numpy().astype(int) - to_uint8(expected)).max() <= 1
    assert not torch.equal(first, second)


def test_canonical_images_of_a_model(model_folder):
    images = CanonicalImages(str(model_folder))
    clips = list(images.clips(Sampling(frames=1, count=2, seed=1)))
    expected = to_uint8(GenDeF.from_pretrained(model_folder).sample(SEEDS_APART, 1).canonical)
    assert len(clips) == 2 and np.array_equal(clips[0][0].movedim(0, -1).numpy(), expected)
    with pytest.raises(DataError, match="clips of one frame, not of 2"):
        next(images.clips(Sampling(frames=2, count=1)))


def test_unknown(tmp_path):
    with pytest.raises(DataError, match="no data archive, no folder of videos and no model"):
        open_clips("nothing")
    with pytest.raises(DataError, match="holds no video"):
        open_clips(str(tmp_path))


def test_starts_of_model_clips_are_drawn_from_the_time_line_of_training(model_folder):
    source = open_clips(str(model_folder))
    windows = source.windows(Sampling(frames=16, count=200))
    starts = np.array([start for _, start in windows])
    assert 0 <= starts.min() < 60 and 950 < starts.max() <= 1024 - 16
    assert windows == source.windows(Sampling(frames=16, count=200))
    assert windows[:50] == source.windows(Sampling(frames=16, count=50))
    assert [seed for seed, _ in windows] == list(range(200))
    assert {start for _, start in source.windows(Sampling(frames=16, count=200, start="zero"))} == {0}
    (seed, start) = source.windows(Sampling(frames=3, count=1))[0]
    (clip,) = source.clips(Sampling(frames=3, count=1))
    expected = GenDeF.from_pretrained(model_folder).sample(seed, times=[start, start + 1, start + 2]).render()
    assert np.abs(clip.movedim(1, -1).numpy().astype(int) - to_uint8(expected)).max() <= 1


def test_a_training_run_is_refused_and_its_model_named(tmp_path):
    run = tmp_path / "run"
    (run / "previews").mkdir(parents=True)
    (run / "config.yaml").write_text("training: {}")
    with pytest.raises(DataError, match="no model of stage 2"):
        open_clips(str(run))
    (run / "model").mkdir()
    with pytest.raises(DataError, match=f"take {run / 'model'}"):
        open_clips(str(run))


def test_frames_of_two_sizes(tmp_path):
    for number, side in enumerate((16, 16, 24)):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / f"{number}.png")
    source = open_clips(str(tmp_path))
    with pytest.raises(DataError, match="16x16 and 24x24"):
        list(source.clips(Sampling(frames=3)))
    assert next(iter(source.clips(Sampling(frames=3, size=16)))).shape == (3, 3, 16, 16)


def test_damaged_frames_of_an_archive_are_noted(clips, archive):
    path = archive("a.zip", clips(2, 0))
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(path.with_name("b.zip"), "w") as bad:
        names = good.namelist()
        for name in names:
            bad.writestr(name, b"broken" if name == names[1] else good.read(name))
    source = open_clips(str(path.with_name("b.zip")))
    assert len(list(source.clips(Sampling(frames=6)))) == 2 and "1 damaged frames" in source.notes[0]


def test_different_frame_rates_are_said(clips, tmp_path):
    for folder, rates in (("a", (10, 10)), ("b", (25, 25)), ("c", (5, 25))):
        for number, fps in enumerate(rates):
            frames = clips(1, number, frames=4, side=64)[0].movedim(1, -1).numpy()
            write_video(tmp_path / folder / f"{number}.mp4", frames, fps, enlarge=False)
    a, b, c = (open_clips(str(tmp_path / name)) for name in "abc")
    assert a.frame_rates() == [10] and c.frame_rates() == [5, 25]
    assert frame_rate_warnings(a, a) == []
    assert "10" in frame_rate_warnings(a, b)[0] and "25" in frame_rate_warnings(a, b)[0]
    assert "5 to 25" in frame_rate_warnings(a, c)[0]
