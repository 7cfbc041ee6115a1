"""TAP-Vid measures against cases counted by hand."""

import numpy as np
import pytest
import torch

from gendef.errors import InputError
from gendef.metrics.tapvid import average_scores, queries_first, queries_strided, tap_vid


def test_queries_by_hand():
    visible = np.array([[0, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1, 0]], bool)
    points, frames = queries_first(visible)
    assert points.tolist() == [0, 2] and frames.tolist() == [1, 0]
    points, frames = queries_strided(visible)
    assert list(zip(points.tolist(), frames.tolist(), strict=True)) == [(2, 0), (0, 5), (2, 5)]


def case():
    """One point in five frames, asked for at frame 1."""
    truth = np.zeros((1, 5, 2))
    truth[0, 4] = np.nan  # occluded, place unknown
    true_visible = np.array([[1, 1, 1, 1, 0]], bool)
    predicted = truth.copy()
    predicted[0, 0] = (50, 0)
    predicted[0, 2] = (3, 0)
    predicted[0, 3] = (0, 20)
    predicted[0, 4] = (0, 0)
    visible = np.array([[1, 1, 1, 1, 1]], bool)
    return predicted, visible, truth, true_visible


def test_first_by_hand():
    # Frames 2, 3 and 4 count. Frame 2 is 3 pixels off (right from threshold 4 on), frame 3 20 pixels off (never right),
    # frame 4 is occluded and predicted visible.
    score = tap_vid(*case(), [1], mode="first")
    assert score.within == {1: 0, 2: 0, 4: 0.5, 8: 0.5, 16: 0.5}
    assert score.delta_average == pytest.approx(0.3)
    # Two truly visible. Threshold 1: no true positive. From 4 on: one true positive, false positives frames 3 and 4.
    assert score.jaccard == {1: 0, 2: 0, 4: 0.25, 8: 0.25, 16: 0.25}
    assert score.average_jaccard == pytest.approx(0.15)
    assert score.occlusion_accuracy == pytest.approx(2 / 3)


def test_strided_counts_the_frames_before():
    # Frame 0, 50 pixels off, counts too: three truly visible, one false positive more.
    score = tap_vid(*case(), [1], mode="strided")
    assert score.within[4] == pytest.approx(1 / 3)
    assert score.jaccard[4] == pytest.approx(1 / 6)
    assert score.occlusion_accuracy == pytest.approx(3 / 4)


def test_hidden_predictions():
    predicted, visible, truth, true_visible = case()
    visible = visible.copy()
    visible[0, 2:] = False
    score = tap_vid(predicted, visible, truth, true_visible, [1])
    # Position accuracy does not ask for the predicted visibility, the Jaccard index does.
    assert score.delta_average == pytest.approx(0.3) and score.average_jaccard == 0
    assert score.occlusion_accuracy == pytest.approx(1 / 3)


def test_perfect_tracks():
    _, _, truth, true_visible = case()
    score = tap_vid(torch.from_numpy(truth), torch.from_numpy(true_visible), truth, true_visible, [0])
    assert score.summary() == {"average_jaccard": 1, "delta_average": 1, "occlusion_accuracy": 1}


def test_the_threshold_itself_is_outside():
    truth, visible = np.zeros((1, 2, 2)), np.ones((1, 2), bool)
    moved = truth + np.array([2.0, 0.0])
    assert tap_vid(moved, visible, truth, visible, [0]).within == {1: 0, 2: 0, 4: 1, 8: 1, 16: 1}


def test_rescaled_to_256_each_axis_by_itself():
    truth, visible = np.zeros((1, 2, 2)), np.ones((1, 2), bool)
    # 6 pixels across a width of 512 are 3 of 256; 6 pixels down a height of 128 are 12 of 256.
    across = tap_vid(truth + np.array([6.0, 0.0]), visible, truth, visible, [0], size=(128, 512))
    down = tap_vid(truth + np.array([0.0, 6.0]), visible, truth, visible, [0], size=(128, 512))
    assert across.within == {1: 0, 2: 0, 4: 1, 8: 1, 16: 1}
    assert down.within == {1: 0, 2: 0, 4: 0, 8: 0, 16: 1}


def test_average_over_videos_leaves_unknown_out():
    predicted, visible, truth, true_visible = case()
    score = tap_vid(predicted, visible, truth, true_visible, [1])
    nothing = tap_vid(predicted, visible, truth, np.zeros_like(true_visible), [1])
    assert np.isnan(nothing.delta_average) and nothing.average_jaccard == 0
    both = average_scores([score, nothing])
    assert both.delta_average == score.delta_average
    assert both.average_jaccard == pytest.approx(score.average_jaccard / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_frames": [5]}, "between 0 and 4, got 5"),
        ({"query_frames": [0, 1]}, "one query frame"),
        ({"query_frames": [4]}, "no frame is left"),
        ({"mode": "last"}, "first or strided, got 'last'"),
        ({"visible": np.ones((1, 4))}, r"\(1, 4\)"),
        ({"positions": np.ones((1, 4, 2))}, r"\(1, 4, 2\)"),
    ],
)
def test_mistakes(change, message):
    predicted, visible, truth, true_visible = case()
    arguments = {
        "positions": predicted,
        "visible": visible,
        "true_positions": truth,
        "true_visible": true_visible,
        "query_frames": [1],
    }
    with pytest.raises(InputError, match=message):
        tap_vid(**(arguments | change))
