import pytest
import torch

from gendef import CanonicalVideo
from gendef.errors import InputError
from gendef.visualization.comparison import comparison_frames, comparison_sheet, extent_of_change
from gendef.visualization.figure import scaled_size


def clip(value, frames=3, size=(8, 12)):
    return CanonicalVideo(torch.full((3, *size), float(value)), torch.zeros(frames, *size, 2), 10)


def test_frames_in_a_table():
    frames = list(comparison_frames([clip(-1), clip(1)]))
    assert len(frames) == 3
    height, width = 256, 384
    assert frames[0].shape == (height + 8, 2 * width + 12, 3)
    assert (frames[0][10:-10, 10 : width - 10] == 0).all() and (frames[0][10:-10, width + 20 : -10] == 255).all()
    table = next(iter(comparison_frames([clip(-1)] * 5)))
    assert table.shape == (2 * 260 + 4, 3 * 388 + 4, 3)


def test_sheet_has_a_row_a_clip():
    sheet = comparison_sheet([clip(-1), clip(0)], ["before", "after"], count=2)
    assert sheet.shape[0] > 2 * 176 and sheet.shape[1] > 3 * 264


def test_extent_of_a_change():
    before = clip(-1)
    image = before.canonical.clone()
    image[0, :4] = -1 + 2 * 51 / 255
    share, change = extent_of_change(before, before.with_canonical(image))
    assert share == pytest.approx(0.5) and change == pytest.approx(51, abs=1e-3)
    assert extent_of_change(before, before) == (0, 0)


def test_scaled_size():
    assert scaled_size((8, 12), None) == (8, 12) and scaled_size((8, 12), 16) == (16, 24)
    with pytest.raises(InputError, match="at least 1 pixel, got 0"):
        scaled_size((8, 12), 0)
