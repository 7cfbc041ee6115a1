"""Edits of videos of layers: drawings stay on what they were drawn on, and go on in the next segment."""

import numpy as np
import pytest
import torch
from tests.video.test_layered_tracks import passing, scene, segments

from gendef.editing.layers import carry_edit, draw_on_frame
from gendef.errors import InputError
from gendef.visualization.comparison import comparison_sheet
from gendef.visualization.figure import figure, figure_frames

RED = (255, 0, 0, 255)


def drawing(rows, columns):
    """A red rectangle on a transparent frame."""
    picture = np.zeros((16, 24, 4), np.uint8)
    picture[rows, columns] = RED
    return picture


def reddened(before, after):
    """Pixels that became red, (T, H, W)."""
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    return ((after - red).abs().amax(dim=1) < 0.02) & ((before - after).abs().amax(dim=1) > 0)


def test_a_drawing_stays_on_its_layers():
    video = scene()
    after = draw_on_frame(video, drawing(slice(5, 7), slice(4, 12)), 0)
    red = reddened(video.render(), after.render())
    for t in range(6):
        expected = torch.zeros(16, 24, dtype=torch.bool)
        expected[5:7, 8 - t : 12 - t] = True
        expected &= video.owners(t) == 0
        expected[5:7, 4 + 2 * t : 8 + 2 * t] = True
        assert torch.equal(red[t], expected), t


def test_a_drawing_goes_on_in_the_next_segment():
    video, _ = segments(fade=True)
    before = video.render()
    for frame in (0, 11):
        after = draw_on_frame(video, drawing(slice(3, 6), slice(14 - frame, 18 - frame)), frame).render()
        red = reddened(before, after)
        for t in range(12):
            expected = torch.zeros(16, 24, dtype=torch.bool)
            expected[3:6, 14 - t : 18 - t] = True
            assert torch.equal(red[t], expected), t


def test_a_drawing_passes_where_nothing_hides_it():
    video = passing([5, 6])
    before = video.render()
    after = draw_on_frame(video, drawing(slice(4, 7), slice(13, 16)), 0).render()
    red = reddened(before, after)
    for t in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11):
        expected = torch.zeros(16, 24, dtype=torch.bool)
        expected[4:7, 13 - t : 16 - t] = True
        assert torch.equal(red[t], expected), t


def test_what_no_common_frame_shows_is_not_carried():
    video, _ = segments()
    first = video.layers[0].video
    image = first.canonical.clone()
    image[:, :, :3] = 0  # seen in frames 0 to 2 only
    after = carry_edit(video, 0, first.with_canonical(image))
    assert torch.equal(after.layers[1].video.canonical, video.layers[1].video.canonical)


def test_bad_drawings():
    with pytest.raises(InputError, match="alpha"):
        draw_on_frame(scene(), np.zeros((16, 24, 3), np.uint8), 0)
    with pytest.raises(InputError, match="frame must be between 0 and 5, got 6"):
        draw_on_frame(scene(), drawing(0, 0), 6)


def test_figures_of_layers():
    video = scene()
    picture = figure(video, 3, 32)
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 3 * 32, "a row for the video and one for each layer"
    frames = list(figure_frames(video, 32))
    assert len(frames) == 6
    assert frames[0].shape[1] > 3 * 48
    for wrong in (lambda: figure(video, 0), lambda: next(figure_frames(video, 3))):
        with pytest.raises(InputError, match="16 pixels a side"):
            wrong()
    sheet = comparison_sheet([video, video], ["before", "after"], 2)
    assert sheet.shape[1] > 4 * 176, "both canonical images and two frames"


def test_flow_of_layers():
    flow = scene().flow("image")
    assert flow.shape == (5, 16, 24, 2)
    square = torch.stack([scene().owners(t) == 1 for t in range(5)])
    torch.testing.assert_close(flow[square], torch.tensor([2.0, 0]).expand(int(square.sum()), 2), atol=1e-3, rtol=0)
    seen = ~square & torch.isfinite(flow[..., 0])
    torch.testing.assert_close(flow[seen], torch.tensor([-1.0, 0]).expand(int(seen.sum()), 2), atol=1e-3, rtol=0)
    with pytest.raises(InputError, match="kind must be canonical or image, got 'x'"):
        scene().flow("x")
