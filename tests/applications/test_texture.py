import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from gendef.applications.texture import Texture

pytest.importorskip("cv2", reason="needs the extra fit")
POINTS = torch.tensor([[20.0, 20.0], [33.25, 28.5], [44.0, 14.0]])


def picture():
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(48, 64, 3)), (1.5, 1.5, 0))
    return 128 + 40 * noise / noise.std()


def levels(image):
    return image.clip(0, 255).round().astype(np.uint8)


def test_it_is_found_to_a_fraction_of_a_pixel():
    texture = Texture(levels(picture()), POINTS)
    place, alike = texture.laid_onto(levels(shift(picture(), (0.6, 1.3, 0), order=3, mode="nearest")), [POINTS])
    torch.testing.assert_close(place, POINTS + torch.tensor([1.3, 0.6]), atol=0.05, rtol=0)
    assert float(alike.min()) > 0.98


def test_the_better_of_two_guesses_is_taken():
    texture = Texture(levels(picture()), POINTS)
    moved = levels(shift(picture(), (0, 12, 0), order=3, mode="nearest"))
    far = POINTS + torch.tensor([11.0, 0.0])
    for guesses in ([POINTS, far], [far, POINTS]):
        place, alike = texture.laid_onto(moved, guesses)
        torch.testing.assert_close(place, POINTS + torch.tensor([12.0, 0.0]), atol=0.05, rtol=0)
        assert float(alike.min()) > 0.98


@pytest.mark.parametrize("other", [np.full((48, 64, 3), 90, np.uint8), levels(picture())[::-1, ::-1]])
def test_what_is_not_there_is_not_found(other):
    place, alike = Texture(levels(picture()), POINTS).laid_onto(other, [POINTS])
    assert torch.equal(alike, torch.zeros(3)) and torch.equal(place, POINTS)


def test_guesses_are_left_as_they_were():
    guess = POINTS + 1
    place, _ = Texture(levels(picture()), POINTS).laid_onto(levels(picture()), [guess])
    torch.testing.assert_close(place, POINTS, atol=0.01, rtol=0)
    assert torch.equal(guess, POINTS + 1)
