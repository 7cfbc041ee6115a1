import numpy as np

from gendef.visualization.overlays import draw_labels, draw_tracks, label_palette, point_colours


def test_points_are_drawn_where_they_are():
    image = np.full((40, 60, 3), 128, np.uint8)
    trails = np.array([[[10.0, 20.0], [30.0, 20.0]], [[50.0, 5.0], [50.0, 5.0]]])
    visible = np.array([[True, True], [True, False]])
    colours = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    drawn = draw_tracks(image, trails, visible, colours, radius=2)
    assert drawn[20, 30].tolist() == [255, 0, 0]
    assert drawn[20, 20, 0] > 150 and drawn[20, 20, 1] < 128  # the trail
    assert (drawn[:, 40:] == 128).all()  # what is not visible
    changed = np.argwhere((drawn != 128).any(axis=-1))
    assert changed[:, 0].mean() == 20  # the centre of pixel row 20 is at 20
    assert draw_tracks(image, trails[:, -1:], visible[:, -1:], colours).shape == image.shape


def test_trails_fade():
    image = np.zeros((20, 100, 3), np.uint8)
    trail = np.stack((np.arange(5, 95, 10.0), np.full(9, 10.0)), axis=-1)[None]
    drawn = draw_tracks(image, trail, np.ones((1, 9), bool), np.array([[255, 255, 255]], np.uint8), radius=2)
    along = drawn[10, 10:80:10, 0].astype(int)
    assert (np.diff(along) > 0).all()


def test_trails_stop_where_a_point_was_hidden():
    image = np.zeros((20, 100, 3), np.uint8)
    trail = np.stack((np.array([10.0, 40.0, 70.0]), np.full(3, 10.0)), axis=-1)[None]
    drawn = draw_tracks(image, trail, np.array([[True, False, True]]), np.array([[255, 255, 255]], np.uint8), radius=2)
    assert not drawn[:, :60].any() and drawn[10, 70].min() == 255


def test_colours_tell_apart():
    colours = point_colours(np.array([[0.0, 0.0], [5.0, 5.0], [10.0, 10.0]])).astype(int)
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 200
    assert point_colours(np.array([[3.0, 4.0]])).shape == (1, 3)
    palette = label_palette()
    assert palette.shape == (256, 3) and palette[0].tolist() == [0, 0, 0]
    assert len(np.unique(palette[:40], axis=0)) == 40


def test_labels_cover_their_area_with_an_outline():
    image = np.full((80, 80, 3), 200, np.uint8)
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, 5:15] = 3
    drawn = draw_labels(image, labels, strength=0.5)
    colour = label_palette()[3].astype(int)
    assert drawn[20, 40].tolist() == colour.tolist()  # the outline
    np.testing.assert_allclose(drawn[40, 40], 100 + colour / 2, atol=1)
    assert (drawn[:18] == 200).all() and (drawn[:, 62:] == 200).all()
    assert (draw_labels(image, labels == 7) == image).all()
