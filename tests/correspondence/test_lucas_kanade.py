import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from gendef.correspondence.lucas_kanade import Texture

pytest.importorskip("cv2", reason="needs the extra fit")
POINTS = torch.tensor([[20.0, 20.0], [33.25, 28.5], [44.0, 14.0]])


def picture():
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(48, 64, 3)), (1.5, 1.5, 0))
    return 128 + 40 * noise / noise.std()


def levels(image):
    return image.clip(0, 255).round().astype(np.uint8)


def test_it_is_found_to_a_fraction_of_a_pixel():
    texture = Texture(levels(picture()), POINTS)
    moved = levels(shift(picture(), (0.6, 1.3, 0), order=3, mode="nearest"))
    place, found = texture.match(moved, POINTS, 6)
    torch.testing.assert_close(place, POINTS + torch.tensor([1.3, 0.6]), atol=0.05, rtol=0)
    assert found.all()


def test_a_guess_helps_where_it_is_not_too_far_off():
    texture = Texture(levels(picture()), POINTS)
    moved = levels(shift(picture(), (0, 12, 0), order=3, mode="nearest"))
    far = POINTS + torch.tensor([11.0, 0.0])
    place, found = texture.match(moved, POINTS, 14, [far])
    torch.testing.assert_close(place, POINTS + torch.tensor([12.0, 0.0]), atol=0.05, rtol=0)
    assert found.all()
    place, found = texture.match(moved, POINTS, 10, [far])
    assert torch.equal(place, POINTS) and not found.any()


def test_a_better_copy_far_away_does_not_hide_the_one_that_is_near():
    noise = np.random.default_rng(1).normal(0, 12, (48, 64, 3))
    copy = picture() + noise
    copy[6:35, 42:64] = picture()[6:35, 9:31]  # around the first point, without the noise
    place, found = Texture(levels(picture()), POINTS[:1]).match(
        levels(copy), POINTS[:1], 6, [POINTS[:1] + torch.tensor([33.0, 0.0])]
    )
    torch.testing.assert_close(place, POINTS[:1], atol=0.3, rtol=0)
    assert found.all()


@pytest.mark.parametrize("other", [np.full((48, 64, 3), 90, np.uint8), levels(picture())[::-1, ::-1]])
def test_what_is_not_there_is_not_found(other):
    place, found = Texture(levels(picture()), POINTS).match(other, POINTS, 6)
    assert not found.any() and torch.equal(place, POINTS)


def test_guesses_are_left_as_they_were():
    guess = POINTS + 1
    place, _ = Texture(levels(picture()), POINTS).match(levels(picture()), guess, 6)
    torch.testing.assert_close(place, POINTS, atol=0.01, rtol=0)
    assert torch.equal(guess, POINTS + 1)
