"""Drawing training clips."""

import threading
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gendef.data import ClipStream, PrepareConfig, VideoArchive, prepare
from gendef.data.clips import HORIZON, sample_clip_times
from gendef.errors import ConfigError, DataError


@pytest.fixture
def archive(tmp_path, write_zip):
    """Clips of 40, 10 and 2 frames of 8x8; frame t of clip c is (t, c, column)."""
    clips = {}
    for clip, length in enumerate((40, 10, 2)):
        frames = np.zeros((length, 8, 8, 3), np.uint8)
        frames[..., 0] = np.arange(length)[:, None, None]
        frames[..., 1] = clip
        frames[..., 2] = np.arange(8)
        clips[f"c{clip}"] = frames
    return VideoArchive(write_zip(tmp_path / "set.zip", clips))


class TestClipTimes:
    @given(st.integers(1, 200), st.integers(1, 6), st.integers(6, 64), st.integers(0, 2**32))
    def test_bounds(self, length, num_frames, max_distance, seed):
        rng = np.random.default_rng(seed)
        if length < num_frames:
            with pytest.raises(DataError, match="different"):
                sample_clip_times(length, rng, num_frames, max_distance)
            return
        times = sample_clip_times(length, rng, num_frames, max_distance)
        assert times.shape == (num_frames,) and times.dtype == np.int64
        assert times[0] >= 0 and times[-1] < length
        assert (np.diff(times) >= 1).all() and times[-1] - times[0] < max_distance

    def test_distribution(self):
        rng = np.random.default_rng(0)
        times = np.stack([sample_clip_times(100, rng) for _ in range(20_000)])
        spans = np.bincount(times[:, 2] - times[:, 0], minlength=32)
        assert spans[:2].sum() == 0 and spans.size == 32
        assert np.abs(spans[2:] / 20_000 - 1 / 30).max() < 0.006
        share = (times[:, 1] - times[:, 0]) / (times[:, 2] - times[:, 0])
        assert share.mean() == pytest.approx(0.5, abs=0.01)
        assert times[:, 0].min() == 0 and times[:, 2].max() == 99

    def test_short_clip_is_used_whole(self):
        rng = np.random.default_rng(0)
        drawn = {tuple(sample_clip_times(4, rng).tolist()) for _ in range(300)}
        assert drawn == {(0, 1, 2), (1, 2, 3), (0, 1, 3), (0, 2, 3)}


class TestClipStream:
    def test_batch_holds_the_frames_it_names(self, archive):
        batch = ClipStream(archive, 16, seed=1, mirror=False).batch(3)
        assert batch.video.shape == (16, 3, 3, 8, 8) and batch.video.dtype == torch.uint8
        assert batch.times.shape == (16, 3) and batch.times.dtype == torch.float32 and batch.labels is None
        assert torch.equal(batch.video[:, :, 0, 0, 0].float(), batch.times)
        assert torch.equal(batch.video[0, 0, 2, 0], torch.arange(8, dtype=torch.uint8))

    def test_pure_function_of_seed_step_and_rank(self, archive):
        stream = ClipStream(archive, 8, seed=1)
        late = stream.batch(1000)
        stream.batch(5)
        assert torch.equal(ClipStream(archive, 8, seed=1).batch(1000).video, late.video)
        assert not torch.equal(ClipStream(archive, 8, seed=2).batch(1000).times, late.times)
        assert not torch.equal(stream.batch(1001).times, late.times)

    def test_ranks_share_one_global_batch(self, archive):
        whole = ClipStream(archive, 8, seed=1).batch(7)
        parts = [ClipStream(archive, 4, seed=1, rank=rank, world_size=2).batch(7) for rank in range(2)]
        for rank, part in enumerate(parts):
            assert torch.equal(part.video, whole.video[rank::2]) and torch.equal(part.times, whole.times[rank::2])

    def test_clips_in_proportion_to_their_frames(self, archive):
        stream = ClipStream(archive, 2000, seed=0, num_frames=1)
        clips = stream.batch(0).video[:, 0, 1, 0, 0]
        shares = torch.bincount(clips.long(), minlength=3) / 2000
        assert torch.allclose(shares, torch.tensor([40, 10, 2]) / 52, atol=0.03)
        assert stream.num_dropped == 0

    def test_short_clips_are_left_out_never_an_index_error(self, archive):
        stream = ClipStream(archive, 64, seed=0)
        assert stream.clips == [0, 1] and stream.num_dropped == 1
        for step in range(5):
            assert set(stream.batch(step).video[:, 0, 1, 0, 0].tolist()) <= {0, 1}

    def test_chosen_clips_only(self, archive):
        assert set(ClipStream(archive, 32, 0, clips=[1]).batch(0).video[:, 0, 1, 0, 0].tolist()) == {1}

    def test_mirror_turns_half_of_the_clips_all_frames_alike(self, archive):
        columns = ClipStream(archive, 400, seed=0).batch(0).video[:, :, 2, 0]
        mirrored = columns[:, :, 0] == 7
        assert (mirrored.all(dim=1) | ~mirrored.any(dim=1)).all()
        assert 0.4 < mirrored[:, 0].float().mean() < 0.6
        assert torch.equal(columns[mirrored[:, 0]].flip(-1)[0, 0], torch.arange(8, dtype=torch.uint8))

    def test_times_of_generated_clips(self, archive):
        stream = ClipStream(archive, 4000, seed=0)
        times, real = stream.sample_times(0), stream.batch(0).times
        assert times.shape == (4000, 3) and times.dtype == torch.float32
        assert torch.equal(times, stream.sample_times(0)) and times.min() >= 0 and times.max() < HORIZON
        fake_spans, real_spans = ((t[:, 2] - t[:, 0]) for t in (times, real))
        assert fake_spans.mean().item() == pytest.approx(real_spans.mean().item(), rel=0.05)
        assert fake_spans.std().item() == pytest.approx(real_spans.std().item(), rel=0.05)
        assert times[:, 0].mean().item() == pytest.approx((HORIZON - fake_spans.mean().item()) / 2, rel=0.05)
        assert not torch.equal(fake_spans, real_spans)

    def test_labels_are_one_hot(self, tmp_path, write_folder, pan):
        for name, seed in (("wave/1", 1), ("bend/1", 2)):
            write_folder(tmp_path / "videos" / name, pan(5, 16, 16, seed))
        config = PrepareConfig(resolution=16, labels="folder", format="png")
        prepare([tmp_path / "videos"], tmp_path / "set.zip", config)
        archive = VideoArchive(tmp_path / "set.zip")
        batch = ClipStream(archive, 32, seed=0, mirror=False).batch(0)
        assert batch.labels is not None and batch.labels.shape == (32, 2) and batch.labels.dtype == torch.float32
        assert torch.equal(batch.labels.sum(1), torch.ones(32)) and (batch.labels.sum(0) > 0).all()
        for video, times, label in zip(batch.video, batch.times, batch.labels, strict=True):
            expected = archive.read_frames(int(label.argmax()), times.int().tolist())
            assert torch.equal(video, expected)

    def test_no_clip_long_enough_names_the_cure(self, archive):
        with pytest.raises(DataError, match=r"no clip has 3 frames, the longest has 2.*--stage pretrain"):
            ClipStream(archive, 4, 0, clips=[2])
        assert ClipStream(archive, 4, 0, num_frames=1, clips=[2]).batch(0).video.shape == (4, 1, 3, 8, 8)
        with pytest.raises(DataError):
            ClipStream(archive, 4, 0, clips=[])

    @pytest.mark.parametrize(
        "change",
        [
            {"batch_size": 0},
            {"seed": -1},
            {"num_frames": 0},
            {"max_distance": 2},
            {"max_distance": 5000},
            {"rank": 2, "world_size": 2},
            {"clips": [7]},
        ],
    )
    def test_impossible_settings(self, archive, change):
        with pytest.raises(ConfigError):
            ClipStream(archive, **{"batch_size": 4, "seed": 0, **change})


class TestIterate:
    def test_same_as_batches(self, archive):
        stream = ClipStream(archive, 4, seed=3)
        batches = stream.iterate(10)
        for step, batch in enumerate(islice(batches, 12), start=10):
            assert torch.equal(batch.video, stream.batch(step).video)
        batches.close()

    def test_closing_ends_the_thread(self, archive):
        before = threading.active_count()
        batches = ClipStream(archive, 4, seed=3).iterate(0)
        next(batches)
        assert threading.active_count() == before + 1
        batches.close()
        assert threading.active_count() == before

    def test_errors_arrive_after_the_good_batches(self, archive, monkeypatch):
        stream = ClipStream(archive, 4, seed=3)
        good = stream.batch

        def broken(step: int):
            if step == 2:
                raise DataError("frame 7 is damaged")
            return good(step)

        monkeypatch.setattr(stream, "batch", broken)
        batches, before = stream.iterate(0), threading.active_count()
        next(batches)
        next(batches)
        with pytest.raises(DataError, match="frame 7"):
            next(batches)
        assert threading.active_count() == before
