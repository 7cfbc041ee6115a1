"""Masks from clicks and boxes on pictures in which the object is known."""

import sys
import types

import numpy as np
import pytest

from gendef.correspondence import prompt_segmentation as clicks
from gendef.correspondence.prompt_segmentation import mask_from_prompts
from gendef.errors import InputError, MissingDependencyError


def picture(noise=12, size=(90, 120)):
    """A reddish ellipse on a greenish ground with noise and shading, and where the ellipse is."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    truth = ((x - 0.55 * width) / (0.25 * width)) ** 2 + ((y - 0.45 * height) / (0.3 * height)) ** 2 < 1
    image = np.where(truth[..., None], (170, 80, 60), (70, 120, 80)) + (x / width * 30)[..., None]
    image = image + np.random.default_rng(0).normal(0, noise, (*size, 3))
    return image.clip(0, 255).astype(np.uint8), truth


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


pytest.importorskip("skimage", reason="needs the extra fit")


@pytest.mark.parametrize("method", ["grabcut", "walk"])
def test_a_click_finds_the_object(method):
    if method == "grabcut":
        pytest.importorskip("cv2")
    image, truth = picture()
    mask = mask_from_prompts(image, clicks=[(62, 40)], method=method)
    assert mask.dtype == bool and overlap(mask, truth) > 0.9
    corner = mask_from_prompts(image, clicks=[(62, 40)], not_clicks=[(5, 80)], method=method)
    assert overlap(corner, truth) > 0.9


@pytest.mark.parametrize("method", ["grabcut", "walk"])
def test_a_box_finds_the_object_within(method):
    if method == "grabcut":
        pytest.importorskip("cv2")
    image, truth = picture()
    mask = mask_from_prompts(image, box=(34, 11, 98, 70), method=method)
    assert overlap(mask, truth) > 0.9
    assert not mask[:11].any() and not mask[71:].any() and not mask[:, :34].any() and not mask[:, 99:].any()


def test_large_pictures_are_cut_at_a_smaller_size():
    pytest.importorskip("cv2")
    image, truth = picture(size=(540, 720))
    assert overlap(mask_from_prompts(image, clicks=[(390, 240)]), truth) > 0.9


def test_chances_are_harmonic():
    """On an even picture one row wide the chance falls evenly from one end to the other."""
    inside, outside = np.zeros((1, 11), bool), np.zeros((1, 11), bool)
    inside[0, 0] = outside[0, 10] = True
    chance = clicks._chances(np.zeros((1, 11, 3)), inside, outside)
    np.testing.assert_allclose(chance[0], np.linspace(1, 0, 11), atol=1e-9)


def test_walks_avoid_edges():
    image = np.zeros((1, 11, 3))
    image[0, 4:] = 1
    inside, outside = np.zeros((1, 11), bool), np.zeros((1, 11), bool)
    inside[0, 0] = outside[0, 10] = True
    chance = clicks._chances(image, inside, outside)[0]
    assert chance[3] > 0.95 and chance[4] < 0.05


def test_where_colours_say_nothing_the_walk_stays(monkeypatch):
    pytest.importorskip("cv2")
    image, _ = picture()
    walk = mask_from_prompts(image, clicks=[(62, 40)], method="walk")
    monkeypatch.setattr(clicks, "_cut", lambda image, guess, *rest: np.zeros_like(guess))
    assert np.array_equal(mask_from_prompts(image, clicks=[(62, 40)]), walk)


def test_sam2_is_asked_in_its_own_words(monkeypatch):
    image, truth = picture()
    asked = {}

    class Predictor:
        @classmethod
        def from_pretrained(cls, name, device):
            asked["name"] = name
            return cls()

        def set_image(self, image):
            asked["image"] = image

        def predict(self, **prompt):
            asked.update(prompt)
            return np.stack((~truth, truth, ~truth)).astype(np.float32), np.array([0.1, 0.9, 0.3]), None

    module = types.ModuleType("sam2.sam2_image_predictor")
    module.SAM2ImagePredictor = Predictor
    monkeypatch.setitem(sys.modules, "sam2", types.ModuleType("sam2"))
    monkeypatch.setitem(sys.modules, "sam2.sam2_image_predictor", module)
    mask = mask_from_prompts(image, [(62, 40)], (34, 11, 98, 70), [(3, 4)], method="sam2")
    assert np.array_equal(mask, truth)
    assert asked["name"].startswith("facebook/sam2") and asked["image"] is image
    assert asked["point_coords"].tolist() == [[62, 40], [3, 4]] and asked["point_labels"].tolist() == [1, 0]
    assert asked["box"].tolist() == [34, 11, 98, 70]
    mask_from_prompts(image, box=(34, 11, 98, 70), method="sam2")
    assert asked["point_coords"] is None and asked["multimask_output"] is False


def test_missing_packages_are_named(monkeypatch):
    image, _ = picture()
    monkeypatch.setitem(sys.modules, "sam2", None)
    monkeypatch.setitem(sys.modules, "sam2.sam2_image_predictor", None)
    with pytest.raises(InputError, match="pip install sam2"):
        mask_from_prompts(image, [(5, 5)], method="sam2")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r"opencv.*gendef\[fit\]"):
        mask_from_prompts(image, [(5, 5)])
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(MissingDependencyError, match=r"scikit-image.*gendef\[fit\]"):
        mask_from_prompts(image, [(5, 5)], method="walk")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no object is marked"),
        ({"not_clicks": [(3, 3)]}, "no object is marked"),
        ({"clicks": [(130, 3)]}, "the click 130,3 is outside the picture of 120x90"),
        ({"clicks": [(3, 3)], "not_clicks": [(3, -4)]}, "the click 3,-4 is outside"),
        ({"box": (50, 50, 20, 20)}, "the box 50,50,20,20 "),
        ({"box": (500, 50, 520, 60)}, "contains no"),
    ],
)
def test_bad_prompts_are_named(options, message):
    with pytest.raises(InputError, match=message):
        mask_from_prompts(picture()[0], method="walk", **options)
