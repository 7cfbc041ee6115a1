"""Points and masks in videos of layers, against motions that are known."""

from dataclasses import replace

import pytest
import torch
from tests.video.test_layered_video import shifted

from gendef import CanonicalVideo
from gendef.errors import InputError
from gendef.video.layer import Layer
from gendef.video.layered_video import LayeredVideo

SIZE = (16, 24)


def scene():
    """A background that pans by 1 pixel a frame, and a square of 6 by 8 pixels, moving 2 to the right a frame."""
    torch.manual_seed(1)
    back, front = torch.rand(3, 16, 32), torch.rand(3, 16, 24)
    alpha = torch.zeros(6, *SIZE, dtype=torch.uint8)
    for t in range(6):
        alpha[t, 4:12, 2 + 2 * t : 8 + 2 * t] = 255
    square = shifted(front, [-2 * t for t in range(6)], SIZE, "square", alpha=alpha)
    return LayeredVideo([shifted(back, list(range(6)), SIZE), square])


def test_each_point_moves_with_its_layer():
    tracks = scene().track([(4, 8), (15, 8), (20, 1)], frame=0)
    t = torch.arange(6.0)
    torch.testing.assert_close(tracks.positions[0, :, 0], 4 + 2 * t, atol=1e-3, rtol=0)
    torch.testing.assert_close(tracks.positions[1, :, 0], 15 - t, atol=1e-3, rtol=0)
    torch.testing.assert_close(tracks.positions[:, :, 1], torch.tensor([[8.0], [8], [1]]).expand(-1, 6))
    assert tracks.layer.tolist() == [1, 0, 0]
    # The square covers columns 2 + 2t to 7 + 2t: the second point, at 15 - t, is behind it in frames 3 and 4.
    assert tracks.visible[1].tolist() == [True, True, True, False, False, True]
    assert tracks.visible[0].all()
    assert tracks.visible[2].all()


def test_points_on_a_canonical_image():
    tracks = scene().track([(10, 2)], layer=0)
    torch.testing.assert_close(tracks.positions[0, :, 0], 10 - torch.arange(6.0), atol=1e-3, rtol=0)
    with pytest.raises(InputError, match="outside the canonical image of layer 1, which has 24x16"):
        scene().track([(30, 2)], layer=1)
    with pytest.raises(InputError, match="layer must be between 0 and 1, got 2"):
        scene().track([(3, 2)], layer=2)
    with pytest.raises(InputError, match="frame must be between 0 and 5, got 6"):
        scene().track([(3, 2)], frame=6)


def test_visibility_of_the_composite_counts():
    video = scene()
    video.visibility = torch.ones(6, *SIZE, dtype=torch.bool)
    video.visibility[2] = False
    assert video.track([(4, 8)], frame=0).visible[0].tolist() == [True, True, False, True, True, True]


def segments(fade=False):
    """The pan in two parts of one name, with canonical images of their own, overlapping in frames 4 to 6."""
    torch.manual_seed(2)
    world = torch.rand(3, 16, 48)
    alpha = torch.full((8, *SIZE), 255, dtype=torch.uint8)
    if fade:
        alpha[0], alpha[1] = 60, 130
    first = shifted(world, list(range(7)), SIZE)
    second = shifted(world[:, :, 3:], [1 + t for t in range(8)], SIZE, start=4, alpha=alpha)
    return LayeredVideo([first, second]), world


def test_points_go_on_in_the_next_segment():
    video, world = segments(fade=True)
    for t, frame in enumerate(video.render()):
        torch.testing.assert_close(frame, world[:, :, t : t + 24], atol=1e-4, rtol=0)
    for start in (0, 5, 11):
        tracks = video.track([(14, 5), (2, 9)], frame=start)
        columns = torch.tensor([[14.0], [2.0]]) - torch.arange(12) + start
        inside = (columns >= 0) & (columns <= 23)
        torch.testing.assert_close(tracks.positions[..., 0][inside], columns[inside], atol=1e-3, rtol=0)
        sure = inside | (columns < -1.01)  # a field goes on beyond the outer pixel centres, for half a pixel
        assert torch.equal(tracks.visible & sure, inside)


def passing(hidden):
    """The pan in two parts; a thing hides rows 3 to 9 and columns 5 to 16 in some frames. Behind it both parts are
    wrong about the pan, by 4 pixels in opposite directions."""
    video, _ = segments(fade=True)
    alpha = torch.zeros(12, *SIZE, dtype=torch.uint8)
    alpha[hidden, 3:10, 5:17] = 255
    layers = []
    for layer, wrong in zip(video.layers, (4, -4), strict=True):
        field = layer.video.deformation.clone()
        part = slice(layer.start, layer.end)
        field[..., 0] += 2 * wrong / layer.video.canonical.shape[2] * (alpha[part] > 0)
        layers.append(replace(layer, video=CanonicalVideo(layer.video.canonical, field)))
    torch.manual_seed(3)
    return LayeredVideo([*layers, shifted(torch.rand(3, *SIZE), [0] * 12, SIZE, "thing", alpha=alpha)])


def test_points_and_masks_pass_where_nothing_hides_them():
    video = passing([5, 6])
    for start in (0, 11):
        tracks = video.track([(14 - start, 6)], frame=start)
        columns, seen = 14.0 - torch.arange(12), torch.tensor([t not in (5, 6) for t in range(12)])
        torch.testing.assert_close(tracks.positions[0, seen, 0], columns[seen], atol=1e-3, rtol=0)
        assert torch.equal(tracks.visible[0], seen)
        mask = torch.zeros(SIZE, dtype=torch.bool)
        mask[4:7, 13 - start : 16 - start] = True
        carried = video.segment(mask, frame=start)
        for t in range(12):
            expected = torch.zeros(SIZE, dtype=torch.bool)
            expected[4:7, 13 - t : 16 - t] = t not in (5, 6)
            assert torch.equal(carried[t], expected), t


def test_points_that_are_hidden_where_segments_overlap_are_not_found_again():
    tracks = passing([4, 5, 6]).track([(14, 6), (14, 12)], frame=0)
    assert tracks.visible[0].tolist() == [True] * 4 + [False] * 8
    assert tracks.visible[1].all()


@pytest.mark.parametrize("first", [(8, 14), (10, 14), (8, 20)])
def test_parts_of_a_thing_need_not_begin_one_after_the_other(first):
    """A thing that one segment shows in frames 8 to 13 or so, and the next from frame 6, 8 or 10 on."""
    torch.manual_seed(4)
    world = torch.rand(3, 16, 48)
    one = shifted(world, list(range(*first)), SIZE, start=first[0])
    for begin in (6, 8, 10):
        two = shifted(world[:, :, 3:], [t - 3 for t in range(begin, 20)], SIZE, start=begin)
        video = LayeredVideo([shifted(world[:, :, 20:], [0] * 20, SIZE, "other"), one, two])
        start = 13
        tracks = video.track([(16, 5)], frame=start, layer=0)
        times = torch.arange(max(begin, first[0]), 20)
        expected = 16.0 + start - times
        torch.testing.assert_close(tracks.positions[0, times, 0], expected, atol=1e-3, rtol=0)
        assert tracks.visible[0, times].all()
        # From the canonical image of the first part too.
        canonical = one.video.track([(16, 5)], frame=start - first[0]).canonical
        tracks = video.track(canonical, layer=1)
        torch.testing.assert_close(tracks.positions[0, times, 0], expected, atol=1e-3, rtol=0)
        assert tracks.visible[0, times].all()


def test_points_that_left_before_the_next_segment_begins_are_not_invented():
    video, _ = segments()
    tracks = video.track([(1.5, 5)], frame=0)
    assert tracks.visible[0].tolist() == [True, True, True] + [False] * 9


def test_frames_without_the_layer_hide_its_points():
    video, _ = segments()
    alone = LayeredVideo([video.layers[0], Layer(video.layers[1].video, None, 4, "other")])
    tracks = alone.track([(14, 5)], frame=0)
    assert tracks.visible[0].tolist() == [True] * 4 + [False] * 8
    assert torch.isfinite(tracks.positions).all()


def test_a_mask_of_the_layer_becomes_the_layer():
    video = scene()
    mask = video.owners(0) == 1
    mask[4, 2:4] = False  # a corner is missing, and two pixels of the background are in it
    mask[0, :2] = True
    carried = video.segment(mask, frame=0)
    assert torch.equal(carried[0], mask)
    for t in range(1, 6):
        assert torch.equal(carried[t], video.owners(t) == 1)


def test_labels_move_with_their_layers():
    video = scene()
    labels = torch.zeros(SIZE, dtype=torch.uint8)
    labels[4:8, 2:8] = 3  # half of the square
    labels[:2, 10:14] = 5  # a piece of the background
    labels[6:10, 12:16] = 7  # another, which the square will cover
    carried = video.segment(labels, frame=0)
    for t in range(6):
        expected = torch.zeros(SIZE, dtype=torch.uint8)
        expected[:2, 10 - t : 14 - t] = 5
        expected[6:10, 12 - t : 16 - t] = 7
        expected[4:12, 2 + 2 * t : 8 + 2 * t] = 0
        expected[4:8, 2 + 2 * t : 8 + 2 * t] = 3
        assert torch.equal(carried[t], expected), t


def test_a_mask_on_a_canonical_image():
    video = scene()
    mask = torch.zeros(16, 32, dtype=torch.bool)
    mask[5:7, 12:14] = True
    carried = video.segment(mask, layer=0)
    for t in range(6):
        expected = torch.zeros(SIZE, dtype=torch.bool)
        expected[5:7, 12 - t : 14 - t] = True
        expected &= video.owners(t) == 0
        assert torch.equal(carried[t], expected)


def test_masks_go_on_in_the_next_segment():
    video, _ = segments()
    for start in (0, 11):
        mask = torch.zeros(SIZE, dtype=torch.bool)
        left = 14 if start == 0 else 3
        mask[3:6, left : left + 3] = True
        carried = video.segment(mask, frame=start)
        for t in range(12):
            expected = torch.zeros(SIZE, dtype=torch.bool)
            expected[3:6, 14 - t : 17 - t] = True
            assert torch.equal(carried[t], expected), t
