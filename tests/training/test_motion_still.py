import numpy as np
import pytest
from tests.data.test_motions import motion_set

from gendef.errors import DataError
from gendef.media.video_writer import write_video
from gendef.training.motion_still import MOST, SPACING, still_pictures


def test_pictures_are_windows_without_motion(tmp_path):
    colours = np.linspace(0, 250, 2 * SPACING + 1).astype(np.uint8)
    frames = [np.full((32, 48, 3), colour, np.uint8) for colour in colours]
    write_video(tmp_path / "a.mp4", frames, 25, enlarge=False)
    write_video(tmp_path / "b.mp4", frames[:3], 25, enlarge=False)
    like = motion_set()
    still = still_pictures([tmp_path], like)
    assert still.source.tolist() == [0, 0, 0, 1] and [one["name"] for one in still.sources] == ["a.mp4", "b.mp4"]
    assert still.fields.shape[1:] == like.fields.shape[1:] and not still.fields.any()
    assert still.images.shape[1:] == like.images.shape[1:]
    expected = np.array([0, 125, 250, 0])
    assert np.abs(still.images.float().mean(dim=(1, 2, 3)).numpy() - expected).max() < 4


def test_a_long_video_gives_no_more_than_others(tmp_path):
    write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)] * (SPACING * MOST + 30), 25, enlarge=False)
    assert len(still_pictures([tmp_path], motion_set())) == MOST


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nothing"):
        still_pictures([tmp_path / "nothing"], motion_set())
