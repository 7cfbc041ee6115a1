import colorsys

import pytest
import torch

from gendef.editing.filters import FILTERS, blur, edge, grey, hue, parse_filter, posterise, sepia
from gendef.errors import InputError


def colour(red, green, blue, size=(4, 5)):
    return (torch.tensor([red, green, blue]) * 2 - 1)[:, None, None].expand(3, *size).clone()


def test_grey_is_the_luma_of_jpeg():
    shown = grey(colour(1.0, 0.5, 0.0))
    assert shown.shape == (3, 4, 5)
    assert torch.allclose((shown + 1) / 2, torch.full((3, 4, 5), 0.299 + 0.587 * 0.5), atol=1e-6)


def test_sepia_of_white_and_black():
    assert torch.allclose(sepia(colour(0.0, 0.0, 0.0)), colour(0.0, 0.0, 0.0))
    warm = (sepia(colour(0.5, 0.5, 0.5))[:, 0, 0] + 1) / 2
    assert torch.allclose(warm, torch.tensor([1.351, 1.203, 0.937]) / 2, atol=1e-6)


def test_posterise_leaves_as_many_levels():
    ramp = torch.linspace(-1, 1, 100).expand(3, 2, 100)
    levels = posterise(ramp, 5).unique()
    assert torch.allclose(levels, torch.tensor([-1, -0.5, 0, 0.5, 1]))
    assert float((posterise(ramp, 256) - ramp).abs().max()) <= 1 / 255 + 1e-6


def test_edges_are_dark_where_brightness_steps_and_white_elsewhere():
    image = colour(0.0, 0.0, 0.0, (6, 10))
    image[:, :, 5:] = 1
    drawing = edge(image)
    assert torch.equal(drawing[:, :, [0, 1, 2, 3, 6, 7, 8, 9]], torch.ones(3, 6, 8))
    assert float(drawing[:, :, 4:6].max()) == -1


@pytest.mark.parametrize("degrees", [0.0, 120.0, -120.0, 360.0])
def test_hue_turns_pure_colours_around_the_circle(degrees):
    red, green, blue = (hue(colour(0.8, 0.2, 0.2), degrees)[:, 0, 0] + 1).tolist()
    found, _, _ = colorsys.rgb_to_hls(red / 2, green / 2, blue / 2)
    assert abs((found - degrees / 360 + 0.5) % 1 - 0.5) < 1e-5
    assert red + green + blue == pytest.approx(2.4, abs=1e-5)


def test_blur_keeps_the_mean_and_has_the_asked_width():
    image = torch.zeros(3, 41, 41)
    image[:, 20, 20] = 1
    spread = blur(image, 3.0)
    place = torch.arange(41.0) - 20
    assert float(spread.sum(dim=(1, 2))[0]) == pytest.approx(1, abs=1e-5)
    assert float((spread[0].sum(dim=0) * place**2).sum()) ** 0.5 == pytest.approx(3, rel=0.02)
    assert torch.allclose(blur(torch.full((3, 8, 8), 0.3), 5.0), torch.full((3, 8, 8), 0.3), atol=1e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_all_looks_keep_shape_and_range(name):
    image = torch.rand(3, 7, 11) * 2 - 1
    shown = parse_filter(name)(image)
    assert shown.shape == image.shape and float(shown.abs().max()) <= 1
    assert not torch.equal(shown, image)


def test_amounts_in_words():
    image = torch.rand(3, 8, 8) * 2 - 1
    assert torch.equal(parse_filter("hue:30")(image), hue(image, 30))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sharpen", "unknown filter 'sharpen'; one of: grey"),
        ("grey:2", "takes no amount"),
        ("blur:wide", "not a number"),
        ("blur:-1", "between 0.01 and 1000, got -1"),
        ("posterise:1", "between 2 and 256"),
        ("blur:nan", "between"),
    ],
)
def test_wrong_looks_are_named(text, words):
    with pytest.raises(InputError, match=words):
        parse_filter(text)
