import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gendef import CanonicalVideo
from gendef.editing.edit import apply_filter, edit_canonical, masked, overlay, overlay_frame
from gendef.errors import InputError

SIDE = 24


def moving(shifts, size=(SIDE, SIDE), canonical=None):
    """A clip whose frames look `shifts` (T, 2) pixels further right and down in the canonical image."""
    torch.manual_seed(1)
    height, width = size
    field = torch.tensor(shifts, dtype=torch.float32) * torch.tensor([2 / width, 2 / height])
    image = torch.rand(3, height, width) * 2 - 1 if canonical is None else canonical
    return CanonicalVideo(image, field[:, None, None].expand(-1, height, width, 2).contiguous(), 10)


def rgba(box, size=(SIDE, SIDE), alpha=255, colour=(255, 0, 0)):
    """A transparent picture with a rectangle left, top, right, bottom."""
    picture = np.zeros((*size, 4), np.uint8)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = (*colour, alpha)
    return picture


def test_a_new_canonical_image_shows_and_the_field_stays():
    clip = moving([(0, 0), (2, 1)])
    image = torch.rand(3, SIDE, SIDE) * 2 - 1
    edited = edit_canonical(clip, image)
    assert torch.equal(edited.canonical, image) and edited.nodes is clip.nodes
    assert torch.allclose(edited.render()[1, :, :-1, :-2], image[:, 1:, 2:], atol=1e-5)
    assert edit_canonical(clip, torch.zeros(3, 50, 70)).canonical.shape == (3, 50, 70)


def test_an_overlay_moves_with_the_picture_and_touches_nothing_else():
    clip = moving([(0, 0), (3, -2)])
    before, after = clip.render(), overlay(clip, rgba((8, 6, 12, 10))).render()
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    for t, (x, y) in enumerate([(8, 6), (5, 8)]):
        assert torch.allclose(after[t, :, y : y + 4, x : x + 4], red.expand(3, 4, 4), atol=1e-5)
        changed = (after[t] != before[t]).any(dim=0)
        changed[y - 1 : y + 5, x - 1 : x + 5] = False
        assert not changed.any()


def test_an_overlay_is_mixed_by_its_alpha():
    clip = moving([(0, 0)])
    after = overlay(clip, rgba((4, 4, 8, 8), alpha=51, colour=(255, 255, 255)))
    expected = clip.canonical[:, 4:8, 4:8] * 0.8 + 0.2
    assert torch.allclose(after.canonical[:, 4:8, 4:8], expected, atol=1e-6)
    assert torch.equal(after.canonical[:, :4], clip.canonical[:, :4])


def test_overlays_of_other_sizes_cover_the_canonical_image():
    clip = moving([(0, 0)])
    after = overlay(clip, rgba((0, 0, 3 * SIDE, 6), size=(3 * SIDE, 3 * SIDE)))
    assert after.canonical.shape == clip.canonical.shape
    assert torch.allclose(after.canonical[:, 0], torch.tensor([1.0, -1, -1])[:, None].expand(3, SIDE), atol=1e-5)
    assert torch.equal(after.canonical[:, 4:], clip.canonical[:, 4:])
    # Colours under full transparency never bleed: the rim is a mix of red and what lies below.
    assert float(after.canonical[1:, 2].max()) <= float(clip.canonical[1:, 2].max())


def test_a_drawing_on_a_frame_is_carried_to_all_others():
    shifts = [(0, 0), (4, 2), (-3, 1)]
    clip = moving(shifts)
    after = overlay_frame(clip, rgba((9, 10, 13, 14)), 1)
    canonical_box = clip.canonical.clone()
    canonical_box[:, 12:16, 13:17] = torch.tensor([1.0, -1, -1])[:, None, None]
    assert torch.allclose(after.canonical, canonical_box, atol=1e-4)
    for t, (x, y) in enumerate(shifts):
        shown = after.render()[t, 0, 12 - y : 16 - y, 13 - x : 17 - x]
        assert torch.allclose(shown, torch.ones(4, 4), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(angle=st.floats(-0.5, 0.5), zoom=st.floats(0.6, 0.72), seed=st.integers(0, 99))
def test_the_frame_drawn_on_shows_the_drawing(angle, zoom, seed):
    side = 32
    line = (torch.arange(side) * 2 + 1) / side - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    turn = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], dtype=torch.float32) * zoom
    clip = CanonicalVideo(torch.zeros(3, side, side), (grid @ turn - grid)[None])
    centre = torch.rand(2, generator=torch.Generator().manual_seed(seed)) * 0.6 - 0.3
    alpha = torch.exp(-((grid - centre) ** 2).sum(dim=-1) / 0.1)
    picture = torch.cat((torch.full((side, side, 3), 255.0), alpha[..., None] * 255), dim=-1).round().to(torch.uint8)
    shown = overlay_frame(clip, picture, 0).render()[0, 0]
    # Bilinear reading errs by at most (step^2 / 8) * curvature an axis: once in steps of the frame's pixels, once in
    # those of the canonical image, which lie further apart in the frame. The blob's curvature is at most 2 / 0.1.
    once = 2 * (2 / side) ** 2 / 8 * 20
    assert float((shown - alpha).abs().max()) < once * (1 + 1 / zoom**2) + 2 / 255


def test_what_the_frame_does_not_show_is_not_drawn_on():
    clip = moving([(0, 0), (12, 0)])
    after = overlay_frame(clip, np.full((SIDE, SIDE, 4), 255, np.uint8), 1)
    assert torch.equal(after.canonical[:, :, :11], clip.canonical[:, :, :11])
    assert torch.allclose(after.canonical[:, :, 13:], torch.ones(3, SIDE, SIDE - 13), atol=1e-4)


def test_looks_by_name_and_by_function():
    clip = moving([(0, 0), (1, 0)])
    assert torch.allclose(apply_filter(clip, "grey").render().std(dim=1), torch.zeros(2, SIDE, SIDE), atol=1e-6)
    assert torch.equal(apply_filter(clip, lambda image: -image).canonical, -clip.canonical)
    original = clip.canonical.clone()
    apply_filter(clip, lambda image: image.mul_(0))
    assert torch.equal(clip.canonical, original)
    with pytest.raises(InputError, match="floating image must be"):
        apply_filter(clip, lambda image: image[:1])


def test_a_mask_keeps_the_rest_bit_for_bit():
    clip = moving([(0, 0), (2, 0)])
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[:, 12:] = True
    after = apply_filter(clip, "hue:180", mask)
    assert torch.equal(after.canonical[:, :, :12], clip.canonical[:, :, :12])
    assert torch.equal(after.canonical[:, :, 12:], apply_filter(clip, "hue:180").canonical[:, :, 12:])
    half = masked(clip, edit_canonical(clip, torch.ones(3, SIDE, SIDE)), np.full((SIDE, SIDE), 0.5))
    assert torch.allclose(half.canonical, clip.canonical / 2 + 0.5)
    picture = Image.fromarray(mask.numpy())
    assert torch.equal(apply_filter(clip, "hue:180", picture).canonical, after.canonical)


def test_wrong_edits_are_named():
    clip = moving([(0, 0), (2, 0)])
    with pytest.raises(InputError, match="RGBA"):
        overlay(clip, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="between 0 and 1, got 2"):
        overlay_frame(clip, rgba((0, 0, 4, 4)), 2)
    with pytest.raises(InputError, match=r"\(H, W\), got shape"):
        apply_filter(clip, "grey", torch.zeros(1, 8, 8))
    with pytest.raises(InputError, match=r"between 0 .* and 1"):
        apply_filter(clip, "grey", torch.full((8, 8), 2.0))
