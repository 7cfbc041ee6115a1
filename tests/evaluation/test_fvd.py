"""Distances of clips: zero for the same videos, growing with the damage, complete reports, a safe cache."""

import hashlib
import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gendef.errors import DataError, InputError
from gendef.evaluation.clip_sets import ClipSet
from gendef.evaluation.detectors import Detector
from gendef.evaluation.features import cache_key, compute_features
from gendef.evaluation.fvd import compare
from gendef.evaluation.open_clips import open_clips
from gendef.evaluation.sampling import Sampling


class ClipsInMemory(ClipSet):
    """A tensor as a clip set."""

    kind = "tensor"

    def __init__(self, clips):
        super().__init__("memory", hashlib.sha256(clips.numpy().tobytes()).hexdigest())
        self.tensor = clips

    def windows(self, sampling):
        return [(index, 0) for index in range(len(self.tensor))]

    def read(self, windows, sampling):
        yield from self.tensor


def blurred(clips, strength):
    return torch.from_numpy(gaussian_filter(clips.numpy(), (0, 0, 0, strength, strength), mode="wrap"))


def noisy(clips, strength):
    noise = np.random.default_rng(0).normal(0, strength, clips.shape)
    return torch.from_numpy((clips.numpy() + noise).clip(0, 255).astype(np.uint8))


def shuffled(clips, share):
    """In this share of the clips the frames are in disorder."""
    made = clips.clone()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    count = round(share * len(clips))
    made[:count] = clips[:count][:, order]
    return made


def frozen(clips, share):
    """This share of the clips stands still."""
    made = clips.clone()
    count = round(share * len(clips))
    made[:count] = clips[:count, :1]
    return made


class TestCompare:
    @pytest.mark.parametrize(
        ("damage", "strengths"),
        [
            (blurred, (0.5, 0.8, 1.2, 2.0)),
            (noisy, (10, 15, 25, 40)),
            (shuffled, (0.25, 0.5, 0.75, 1)),
            (frozen, (0.25, 0.5, 0.75, 1)),
        ],
    )
    def test_grows_with_the_damage(self, clips, detector, damage, strengths):
        real, other = clips(120, 0), clips(120, 1)
        made = [ClipsInMemory(other), *(ClipsInMemory(damage(other, strength)) for strength in strengths)]
        reports = [compare(one, ClipsInMemory(real), detector, Sampling(frames=6), batch_size=60) for one in made]
        for place in (0, 1):
            values = [report.results[place].mean for report in reports]
            assert values == sorted(values) and values[-1] > 3 * abs(values[0])

    def test_the_same_videos_give_zero(self, clips, detector):
        real = ClipsInMemory(clips(60, 0))
        report = compare(real, real, detector, Sampling(frames=6))
        assert abs(report.results[0].mean) < 1e-9
        assert report.results[1].mean < 0  # unbiased, so that it goes below zero for the very same samples

    def test_too_few_clips_are_said_loudly(self, clips, detector):
        few, many = ClipsInMemory(clips(20, 0)), ClipsInMemory(clips(60, 1))
        report = compare(few, many, detector, Sampling(frames=6))
        assert "TOO FEW SAMPLES: 20" in report.warnings[0] and "go by the kernel distance" in report.warnings[0]
        assert any("20 generated clips are compared with 60" in warning for warning in report.warnings)
        assert not compare(many, many, detector, Sampling(frames=6)).warnings

    def test_other_warnings(self, clips, detector):
        real = ClipsInMemory(clips(60, 0))
        small = ClipsInMemory(real.tensor[..., ::2, ::2].contiguous())
        report = compare(small, real, detector, Sampling(frames=6, truncation=0.7), [0, 1])
        for text in ("--size 8", "same clips", "truncated (0.7)"):
            assert any(text in warning for warning in report.warnings), text

    def test_a_side_of_one_clip(self, clips, detector):
        with pytest.raises(InputError, match="1 clip"):
            compare(ClipsInMemory(clips(1, 0)), ClipsInMemory(clips(3, 0)), detector, Sampling(frames=6))


class TestFeatures:
    def test_streamed_in_batches(self, clips, detector):
        real = ClipsInMemory(clips(7, 0))
        counts = []
        found = compute_features(real, Sampling(frames=6), detector, batch_size=3, on_clip=counts.append)
        assert counts == [3, 3, 1] and found.clips == 7 and found.size == 16
        expected = detector.features(list(real.tensor)).numpy()
        np.testing.assert_allclose(found.rows, expected, atol=1e-6)
        np.testing.assert_allclose(found.statistics.covariance, np.cov(expected, rowvar=False), atol=1e-6)

    def test_cached_under_everything_that_decides_them(self, clips, detector, spec, tmp_path):
        real, sampling = ClipsInMemory(clips(4, 0)), Sampling(frames=6)
        first = compute_features(real, sampling, detector, cache=tmp_path)
        again = compute_features(real, sampling, detector, cache=tmp_path)
        assert not first.cached and again.cached
        np.testing.assert_array_equal(first.rows, again.rows)
        # The same name with other content, another draw, another detector, other weights: nothing is shared.
        others = [
            (ClipsInMemory(clips(4, 5)), sampling, detector),
            (real, Sampling(frames=6, seed=1), detector),
            (real, Sampling(frames=6, size=8), detector),
            (real, sampling, Detector(spec(size=8))),
            (real, sampling, Detector(spec(load=lambda weights, device: (lambda x: x.new_zeros(len(x), 48), "w2")))),
        ]
        assert all(not compute_features(*other, cache=tmp_path).cached for other in others)
        assert len(list(tmp_path.iterdir())) == 6
        assert "memory" not in json.dumps(cache_key(real, sampling, detector))

    def test_a_damaged_cache_is_computed_again(self, clips, detector, tmp_path):
        real, sampling = ClipsInMemory(clips(4, 0)), Sampling(frames=6)
        first = compute_features(real, sampling, detector, cache=tmp_path)
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:200])
        again = compute_features(real, sampling, detector, cache=tmp_path)
        assert not again.cached
        np.testing.assert_array_equal(first.rows, again.rows)
        assert compute_features(real, sampling, detector, cache=tmp_path).cached

    def test_detector_of_frames(self, clips, spec):
        frames = Detector(
            spec(input_kind="frames", dimension=3, load=lambda weights, device: (lambda x: x.mean(dim=(2, 3)), ""))
        )
        found = compute_features(ClipsInMemory(clips(4, 0)), Sampling(frames=6), frames)
        assert found.clips == 4 and found.rows.shape == (24, 3)

    def test_nothing_readable(self, detector):
        empty = ClipsInMemory(torch.zeros(0, 6, 3, 16, 16, dtype=torch.uint8))
        with pytest.raises(DataError, match="no clip of memory"):
            compute_features(empty, Sampling(frames=6), detector)


def test_equal_files_of_other_names_share_features(clips, archive, detector, tmp_path):
    first, second = archive("a.zip", clips(4, 0)), archive("b.zip", clips(4, 0))
    keys = [cache_key(open_clips(str(path)), Sampling(frames=6), detector) for path in (first, second)]
    assert keys[0] == keys[1]
