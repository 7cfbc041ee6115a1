import colorsys

import numpy as np
import pytest

from gendef.geometry import identity_grid
from gendef.media.images import write_image
from gendef.visualization.drawing import (
    bent_grid,
    colour_wheel,
    contact_sheet,
    draw_arrows,
    flow_colours,
    flow_legend,
    side_by_side,
    text_image,
)


def test_wheel_goes_through_all_hues_once():
    wheel = colour_wheel()
    assert wheel.shape == (55, 3)
    hues = [colorsys.rgb_to_hsv(*colour)[0] for colour in wheel]
    assert hues == sorted(hues)
    pure = {0: (1, 0, 0), 15: (1, 1, 0), 21: (0, 1, 0), 25: (0, 1, 1), 36: (0, 0, 1), 49: (1, 0, 1)}
    for index, colour in pure.items():
        assert tuple(wheel[index]) == colour


def test_flow_colours_are_those_of_middlebury():
    """Right is red, down yellow, left cyan, up blue-violet; half speed is half way to white."""
    flow = np.array([[[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0], [0.5, 0]]], float)
    right, left, down, up, still, half = flow_colours(flow)[0].astype(int)
    assert right.tolist() == [255, 0, 0]
    assert left[0] == 0 and min(left[1:]) > 200
    assert down[2] == 0 and down[0] == 255 and down[1] > 200
    assert up[2] == 255 and up[1] == 0
    assert still.tolist() == [255, 255, 255]
    assert half.tolist() == [255, 128, 128]


def test_scale_and_unknown_flow():
    flow = np.array([[[2, 0], [np.nan, 0], [50, 0]]], float)
    assert flow_colours(flow, 4.0)[0].tolist() == [[255, 128, 128], [0, 0, 0], [255, 0, 0]]
    nothing = flow_colours(np.full((2, 2, 2), np.nan))
    assert not nothing.any()


def test_legend_shows_its_own_directions():
    legend = flow_legend(101)
    assert legend[50, 98].tolist()[0] == 255 and legend[50, 98, 1] < 40
    assert legend[0, 0].tolist() == [255, 255, 255]
    assert legend[50, 50].min() > 240


def test_sheet_places_images():
    red, blue = np.full((4, 6, 3), (255, 0, 0), np.uint8), np.full((4, 6, 3), (0, 0, 255), np.uint8)
    sheet = contact_sheet([[red, blue], [blue]], gap=1)
    assert sheet.shape == (11, 15, 3)
    assert sheet[1, 1].tolist() == [255, 0, 0] and sheet[4, 13].tolist() == [0, 0, 255]
    assert sheet[6, 1].tolist() == [0, 0, 255] and sheet[6, 8].tolist() == [255, 255, 255]


def test_labels_take_room_beside_the_images():
    image = np.zeros((40, 60, 3), np.uint8)
    plain = contact_sheet([[image, image]])
    sheet = contact_sheet([[image, image]], row_labels=["seed 7"], column_labels=["first", "x" * 100])
    top, left = sheet.shape[0] - plain.shape[0], sheet.shape[1] - plain.shape[1]
    assert top > 10 and left > 30
    np.testing.assert_array_equal(sheet[top:, left:], plain)
    assert sheet[:top, left:].min() < 100, "letters above"
    assert sheet[top:, :left].min() < 100, "letters beside"


def test_text_is_as_wide_as_it_is_long():
    short, long = text_image("a"), text_image("a much longer text")
    assert short.shape[0] == long.shape[0] and long.shape[1] > 5 * short.shape[1]
    assert text_image("").shape[2] == 3


def test_side_by_side_centres():
    tall, low = np.zeros((10, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)
    row = side_by_side([tall, low], gap=2)
    assert row.shape == (10, 12, 3)
    assert not row[3:7, 6:].any() and (row[:3, 4:] == 255).all()


def test_arrows_point_where_the_flow_goes():
    grey = np.full((64, 64, 3), 128, np.uint8)
    flow = np.zeros((32, 32, 2))
    flow[..., 0] = 10  # twenty pixels of the image
    drawn = draw_arrows(grey, flow, step=64, colour=(255, 0, 0))
    changed = np.argwhere(drawn[..., 0] > 200)
    assert changed[:, 1].min() >= 30 and 48 <= changed[:, 1].max() <= 53
    assert abs(changed[:, 0].mean() - 32) < 1.5
    assert (draw_arrows(grey, np.full((32, 32, 2), np.nan)) == 128).all(), "nothing where the flow is unknown"


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_grid_of_the_identity_is_straight(size):
    drawn = bent_grid(identity_grid(*size).numpy(), cells=4)
    side = min(size) // 4
    dark = drawn[..., 0] < 200
    lines = dark.all(axis=0).nonzero()[0]
    assert len(lines) and all(min(x % side, -x % side) <= 1 for x in lines)
    assert not dark[side // 2, side // 2]


def test_grid_follows_the_field():
    """Looking at twice the distance shows a grid of half the size."""
    drawn = bent_grid(2 * identity_grid(64, 64).numpy(), np.full((64, 64, 3), 200, np.uint8), cells=4)
    row = drawn[4, :, 0] < 150
    assert (np.diff(row.astype(int)) == 1).sum() in (7, 8)
    assert bent_grid(np.zeros((1, 1, 2))).shape == (1, 1, 3)


def test_image_files(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    write_image(tmp_path / "a.png", image)
    from PIL import Image

    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
