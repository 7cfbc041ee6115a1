import numpy as np
import pytest
import torch
from PIL import Image

from gendef.animation.matte import moving_matte, read_mask, refined, softened, touches_border
from gendef.errors import InputError


def skyline(height=96, width=160):
    """A bright sky over dark houses of different heights, with some noise; and where the sky is."""
    sky = np.zeros((height, width), bool)
    for left in range(0, width, 20):
        sky[: height // 2 + (left * 7) % 23 - 11, left : left + 20] = True
    picture = np.where(sky[..., None], (150, 180, 230), (60, 50, 45)).astype(float)
    picture += np.random.default_rng(0).normal(0, 4, picture.shape)
    return picture.clip(0, 255).astype(np.uint8), sky


def test_a_coarse_map_takes_the_outline_of_the_picture():
    picture, sky = skyline()
    rows = torch.linspace(1.2, -0.2, 12).clamp(0, 1)  # a ramp from sky to ground
    matte = moving_matte(picture, rows[:, None].expand(12, 12)).numpy()
    assert (matte == sky).mean() > 0.995


def test_a_mask_that_is_too_large_is_cut_to_the_edge_nearby():
    picture, sky = skyline()
    large = torch.from_numpy(np.roll(sky, 2, axis=0) | sky)
    better = refined(picture, large).numpy()
    assert (large.numpy() != sky).sum() > 250
    assert (better != sky).sum() < 40


def test_far_from_its_outline_a_mask_is_the_users_word():
    picture, _ = skyline()
    mask = torch.zeros(96, 160, dtype=torch.bool)
    mask[:20, :60] = True  # within the sky, where there is no edge
    better = refined(picture, mask)
    assert better[:14, :54].all()
    assert not better[26:].any()
    assert not better[:, 66:].any()


def test_masks_of_another_size_are_resized():
    mask = np.zeros((20, 40), bool)
    mask[:10] = True
    read = read_mask(mask, (60, 120), "the mask")
    assert read.shape == (60, 120)
    assert read[:30].all()
    assert not read[30:].any()


def test_masks_may_be_transparent_around_what_they_mark():
    picture = np.zeros((10, 10, 4), np.uint8)
    picture[2:5, 2:5, 3] = 255
    assert read_mask(Image.fromarray(picture, "RGBA"), (10, 10), "the mask").sum() == 9


def test_masks_of_another_shape_are_refused():
    with pytest.raises(InputError, match="40x40"):
        read_mask(np.ones((40, 40), bool), (60, 120), "the mask")


def test_empty_masks_are_refused():
    with pytest.raises(InputError):
        read_mask(np.zeros((60, 120), bool), (60, 120), "the mask")


@pytest.mark.parametrize("outwards", [True, False])
def test_the_soft_outline_lies_on_one_side(outwards):
    mask = torch.zeros(80, 100, dtype=torch.bool)
    mask[20:60, 30:70] = True
    alpha = softened(mask, outwards=outwards)
    soft = (alpha > 0) & (alpha < 1)
    assert soft.any()
    assert not (soft & (mask != (not outwards))).any()
    assert (alpha[mask] == 1).all() if outwards else (alpha[~mask] == 0).all()


def test_a_mask_of_everything_has_no_outline():
    assert (softened(torch.ones(20, 30, dtype=torch.bool), outwards=False) == 1).all()


def test_a_thin_line_does_not_vanish():
    mask = torch.zeros(50, 50, dtype=torch.bool)
    mask[25, 5:45] = True
    assert torch.equal(softened(mask, outwards=False), mask.float())


def test_things_within_the_picture_do_not_touch_its_border():
    mask = np.zeros((50, 80), bool)
    mask[10:30, 20:50] = True
    assert not touches_border(mask)
    mask[:20] = True
    assert touches_border(mask)
