"""J and F against cases counted by hand and a brute-force dilation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from gendef.errors import InputError
from gendef.metrics.davis import (
    average_scores,
    boundary_accuracy,
    boundary_map,
    davis,
    frame_statistics,
    region_similarity,
)


def square(top, left, side, size=12):
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


class TestRegionSimilarity:
    def test_overlap_counted_by_hand(self):
        # Two 4x4 squares that share 3x2 pixels: 6 / (16 + 16 - 6).
        assert region_similarity(square(0, 0, 4), square(1, 2, 4)) == pytest.approx(6 / 26)

    def test_empty_masks(self):
        empty = square(0, 0, 0)
        assert region_similarity(empty, empty) == 1
        assert region_similarity(empty, square(0, 0, 1)) == 0
        assert region_similarity(square(0, 0, 1), empty) == 0

    def test_void_pixels_do_not_count(self):
        void = square(0, 0, 12)
        void[1:4, 2:4] = False  # the shared 3x2 pixels remain
        assert region_similarity(square(0, 0, 4), square(1, 2, 4), void) == 1

    def test_takes_tensors(self):
        mask = torch.from_numpy(square(2, 2, 3))
        assert region_similarity(mask, mask) == 1

    def test_shapes_must_agree(self):
        with pytest.raises(InputError, match=r"\(12, 12\) and \(4, 12\)"):
            region_similarity(square(0, 0, 4), square(0, 0, 4)[:4])


class TestBoundary:
    def test_contour_of_a_square_by_hand(self):
        # Pixels that differ from their right, lower or diagonal neighbour: the last row and column of the square, and
        # the pixels before its first row and column.
        expected = np.zeros((5, 5), bool)
        expected[1, 1:4] = expected[3, 1:4] = True
        expected[1:4, 1] = expected[1:4, 3] = True
        assert np.array_equal(boundary_map(square(2, 2, 2, 5)), expected)

    def test_the_edge_of_the_frame_is_no_contour(self):
        assert not boundary_map(np.ones((4, 4), bool)).any()

    def test_within_the_tolerance_is_perfect(self):
        # The diagonal of 12x12 is 17: 0.008 of it, rounded up, is one pixel.
        assert boundary_accuracy(square(3, 3, 4), square(3, 4, 4)) == 1

    def test_beyond_the_tolerance_counted_by_hand(self):
        # Contours are rings of 16 pixels: rows 3..7, columns 3..7 and 6..10. One pixel is allowed. Near the second ring
        # are, of the first, the ends of its top and bottom rows, and its last column, which lies beside column 6.
        # By symmetry as many of the second are near the first.
        seen, true = square(4, 4, 4), square(4, 7, 4)
        rings = boundary_map(seen), boundary_map(true)
        assert [int(ring.sum()) for ring in rings] == [16, 16]
        near = {(3, 5), (3, 6), (3, 7), (7, 5), (7, 6), (7, 7), (4, 7), (5, 7), (6, 7)}
        assert boundary_accuracy(seen, true) == pytest.approx(len(near) / 16)

    def test_empty_contours(self):
        empty = square(0, 0, 0)
        assert boundary_accuracy(empty, empty) == 1
        assert boundary_accuracy(empty, square(3, 3, 4)) == 0
        assert boundary_accuracy(square(3, 3, 4), empty) == 0
        assert boundary_accuracy(square(1, 1, 2, 60), square(40, 40, 10, 60)) == 0

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**31), st.sampled_from([0.008, 0.05, 2.0, 3.0]))
    def test_agrees_with_dilation_by_a_disk(self, seed, tolerance):
        rng = np.random.default_rng(seed)
        seen, true = rng.random((2, 25, 40)) > 0.85
        reach = tolerance if tolerance >= 1 else np.ceil(tolerance * np.hypot(25, 40))
        offsets = np.arange(-reach, reach + 1)
        disk = offsets[:, None] ** 2 + offsets[None] ** 2 <= reach**2
        a, b = boundary_map(seen), boundary_map(true)
        precision = (a & binary_dilation(b, disk)).sum() / a.sum()
        recall = (b & binary_dilation(a, disk)).sum() / b.sum()
        expected = 2 * precision * recall / (precision + recall)
        assert boundary_accuracy(seen, true, tolerance=tolerance) == pytest.approx(expected, abs=1e-12)

    def test_impossible_tolerance(self):
        with pytest.raises(InputError, match="positive, got 0"):
            boundary_accuracy(square(0, 0, 4), square(0, 0, 4), tolerance=0)


class TestDavis:
    def test_statistics_by_hand(self):
        # Nine frames: quarters end at frames 0, 2, 4, 6, 8, ends shared; the first holds 0..2, the last 6..8.
        values = np.array([1.0, 0.8, 0.6, 0.5, 0.5, 0.5, 0.6, 0.2, 0.1])
        found = frame_statistics(values)
        assert found.mean == pytest.approx(4.8 / 9)
        assert found.recall == pytest.approx(4 / 9)  # 0.5 itself is not above
        assert found.decay == pytest.approx(0.8 - 0.3)
        assert frame_statistics(np.array([0.7])).decay == 0

    def test_labels_are_scored_each(self):
        truth = np.zeros((3, 12, 12), int)
        truth[:, :4, :4], truth[:, 6:10, 6:10] = 1, 2
        predicted = truth.copy()
        predicted[predicted == 2] = 1  # the second object is taken for the first
        score = davis(predicted, truth)
        assert [item.label for item in score.objects] == [1, 2]
        assert score.objects[1].j.mean == 0 and score.objects[0].j.mean == pytest.approx(0.5)
        assert score.j_mean == pytest.approx(0.25)
        perfect = davis(truth, truth)
        assert perfect.jf_mean == 1 and perfect.j_decay == 0
        both = average_scores([*score.objects, *perfect.objects])
        assert both.j_mean == pytest.approx((0.5 + 0 + 1 + 1) / 4)
        assert both.summary()["jf_mean"] == pytest.approx((both.j_mean + both.f_mean) / 2)

    def test_ends_may_be_left_out(self):
        truth = np.stack([square(2, 2, 4)] * 4)
        predicted = truth.copy()
        predicted[[0, -1]] = False
        assert davis(predicted, truth).j_mean == pytest.approx(0.5)
        assert davis(predicted, truth, skip_ends=True).j_mean == 1
        with pytest.raises(InputError, match="no frames"):
            davis(predicted[:2], truth[:2], skip_ends=True)

    def test_void_is_not_an_object(self):
        truth = np.zeros((1, 12, 12), np.uint8)
        truth[:, 2:6, 2:6] = 1
        truth[:, :2] = 255
        predicted = (truth == 1) | (truth == 255)
        assert davis(predicted, truth).j_mean == 1

    def test_mistakes(self):
        with pytest.raises(InputError, match="no object"):
            davis(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)))
        with pytest.raises(InputError, match=r"\(T, H, W\)"):
            davis(np.zeros((2, 4, 4)), np.zeros((2, 4, 5)))
