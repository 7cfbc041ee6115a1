import numpy as np
import pytest

from gendef.animation.inpainting import fill


def noise(height=60, width=90):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def hole_and_margins():
    unknown = np.ones((60, 90), bool)
    unknown[10:50, 20:80] = False
    unknown[30:45, 40:55] = True
    return unknown


def test_what_is_known_is_unchanged():
    picture, unknown = noise(), hole_and_margins()
    filled = fill(picture, unknown)
    assert filled.dtype == np.uint8
    assert np.array_equal(filled[~unknown], picture[~unknown])


def test_nothing_unknown_changes_nothing():
    picture = noise()
    assert np.array_equal(fill(picture, np.zeros((60, 90), bool)), picture)


def test_nothing_known_gives_grey():
    assert (fill(noise(), np.ones((60, 90), bool)) == 127).all()


def test_one_colour_stays_one_colour():
    picture, unknown = np.full((60, 90, 3), 77, np.uint8), hole_and_margins()
    picture[unknown] = 255  # what is unknown may hold anything
    assert np.abs(fill(picture, unknown).astype(int) - 77).max() <= 1


def test_the_border_is_continued_by_its_mirror_image():
    picture = np.zeros((64, 400, 3), np.uint8)
    picture[:, 100:300] = (np.arange(200) % 60 * 4)[None, :, None]
    unknown = np.ones((64, 400), bool)
    unknown[:, 100:300] = False
    filled = fill(picture, unknown).astype(int)
    # Noise moves places by a fifth of their distance from the border, some times over.
    for beyond in range(1, 6):
        assert np.abs(filled[:, 100 - beyond] - filled[:, 100 + beyond]).max() <= 4 * 3 * beyond


def test_texture_is_continued_without_streaks():
    picture, unknown = noise(), hole_and_margins()
    filled = fill(picture, unknown).astype(float)
    known = filled[10:30, 20:80]
    for part in (filled[:8, 25:75], filled[12:48, :15], filled[31:44, 41:54]):
        for axis in (0, 1):
            assert np.abs(np.diff(part, axis=axis)).mean() > 0.4 * np.abs(np.diff(known, axis=axis)).mean()


def test_single_pixels_are_enough():
    picture, unknown = noise(), np.ones((60, 90), bool)
    unknown[7, 9] = False
    assert (fill(picture, unknown) == picture[7, 9]).all()


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (2, 2)])
def test_thin_pictures(shape):
    unknown = np.zeros(shape, bool)
    unknown[0, 0] = True
    assert fill(np.full((*shape, 3), 9, np.uint8), unknown).shape == (*shape, 3)
