"""Masks against translations by whole pixels, dense counting of labels, and their own return from other frames."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gendef import CanonicalVideo
from gendef.errors import InputError
from gendef.geometry import identity_grid, jacobian_determinant, resize_field
from gendef.video.label_transfer import resized_labels, to_labels
from gendef.visualization.segment_files import write_masks


def blobs(height, width, count, seed=0):
    """A label map of smooth regions, (H, W) int64."""
    noise = torch.randn(1, count, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (height, width), mode="bicubic", align_corners=False)[0].argmax(0)


def smooth_field(frames, height, width, strength, seed):
    coarse = (torch.rand(frames, 2, 4, 5, generator=torch.Generator().manual_seed(seed)) - 0.5) * 2 * strength
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").movedim(1, -1)


def shifted(frames=4, height=20, width=24):
    """Content that moves two pixels to the right and one down a frame."""
    field = torch.zeros(frames, height, width, 2)
    for t in range(frames):
        field[t] = torch.tensor([-2 * 2 * t / width, -2 * 1 * t / height])
    return CanonicalVideo(torch.zeros(3, height, width), field)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64])
def test_whole_shifts_move_every_pixel(kind):
    mask = (torch.rand(20, 24, generator=torch.Generator().manual_seed(0)) * 5).to(torch.uint8)
    mask = mask > 2 if kind == torch.bool else mask.to(kind)
    frames = shifted().segment(mask)
    assert frames.dtype == kind and frames.shape == (4, 20, 24)
    for t in range(4):
        assert torch.equal(frames[t, t:, 2 * t :], mask[: 20 - t, : 24 - 2 * t])


def test_from_a_frame_nothing_enters_that_it_does_not_show():
    mask = torch.ones(20, 24, dtype=torch.bool)
    frames = shifted().segment(mask, frame=1)
    assert frames[0, : 20 - 1, : 24 - 2].all()
    # What frame 1 had already lost, and what comes in after it, is background.
    assert not frames[0, 19:].any() and not frames[0, :, 22:].any()
    assert frames[3, 2:, 4:].all() and not frames[3, :2].any() and not frames[3, :, :4].any()


def counted(labels, field, many=15):
    """For every pixel the share of its area that each label covers, counted at `many` x `many` places, (L, T, H, W)."""
    frames, height, width = field.shape[:3]
    grid = identity_grid(height * many, width * many) + resize_field(field, (height * many, width * many))
    x = ((grid[..., 0] + 1) / 2 * labels.shape[1]).floor().long().clamp(0, labels.shape[1] - 1)
    y = ((grid[..., 1] + 1) / 2 * labels.shape[0]).floor().long().clamp(0, labels.shape[0] - 1)
    found = labels[y, x].reshape(frames, height, many, width, many)
    return torch.stack([(found == label).float().mean(dim=(2, 4)) for label in labels.unique()])


def test_labels_are_those_with_the_largest_area():
    labels, field = blobs(40, 48, 5), smooth_field(3, 20, 24, 0.25, seed=1)
    frames = CanonicalVideo(torch.zeros(3, 40, 48), field).segment(labels)
    shares = counted(labels, field)
    own = torch.stack([frames == label for label in labels.unique()])
    assert torch.equal(frames.unique(), labels.unique())
    # Nine votes may err where two labels share a pixel almost evenly, never by much.
    assert (shares.amax(dim=0) - (shares * own).sum(dim=0)).max() < 0.25
    assert (shares.argmax(dim=0) == own.float().argmax(dim=0)).float().mean() > 0.985


@given(st.integers(0, 10_000), st.floats(0.0, 0.35))
@settings(max_examples=8, deadline=None)
def test_a_mask_comes_back_from_other_frames_as_it_was(seed, strength):
    """Frames 1 and 2 have the same field: the mask of one, carried to the other, is the same where nothing folds."""
    field = smooth_field(2, 24, 28, strength, seed)
    field = torch.stack((field[0], field[1], field[1]))
    video = CanonicalVideo(torch.zeros(3, 24, 28), field)
    flat = torch.ones(24, 28, dtype=torch.bool)
    area = jacobian_determinant(field[1])
    for row in range(2):
        for column in range(2):
            flat[row : 23 + row, column : 27 + column] &= area > 0.15
    for mask in (blobs(24, 28, 4, seed), blobs(24, 28, 3, seed) == 1):
        frames = video.segment(mask, frame=1)
        assert torch.equal(frames[1], mask)
        if (area > 0).all():
            assert (frames[2] == mask)[flat].float().mean() > 0.998


def test_single_pixels_survive_being_carried():
    """A raster that is too coarse, or a blurred one, would lose them."""
    grid = identity_grid(32, 32)
    turn = (
        torch.stack((grid[..., 0] * 0.8 - grid[..., 1] * 0.5, grid[..., 0] * 0.5 + grid[..., 1] * 0.8), dim=-1) - grid
    )
    video = CanonicalVideo(torch.zeros(3, 32, 32), torch.stack((turn, turn)))
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[3::7, 4::6] = True
    mask[16] = True
    assert torch.equal(video.segment(mask, frame=0)[1], mask)


def test_canonical_mask_of_a_frame():
    mask = torch.zeros(20, 24, dtype=torch.bool)
    mask[8:12, 10:16] = True
    canonical = shifted().canonical_labels(mask, 2)[0]
    expected = torch.zeros(20, 24, dtype=torch.bool)
    expected[6:10, 6:12] = True
    assert torch.equal(canonical, expected)


def test_objects_have_no_holes_where_the_field_stretches():
    """A frame that shows a quarter of what others show: forward mapping would leave gaps between its pixels."""
    grid = identity_grid(32, 32)
    video = CanonicalVideo(torch.zeros(3, 64, 64), torch.stack((torch.zeros(32, 32, 2), -grid * 0.75)))
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[8:24, 8:24] = True
    assert torch.equal(video.segment(mask, frame=0)[1], torch.ones(32, 32, dtype=torch.bool))
    small = video.segment(torch.ones(32, 32, dtype=torch.bool), frame=1)[0]
    assert small[12:20, 12:20].all() and small.sum() == 64


def test_masks_of_other_resolutions():
    mask = torch.zeros(40, 48, dtype=torch.bool)
    mask[10:30, 8:40] = True
    frames = shifted(1).segment(mask)
    assert frames[0, 5:15, 4:20].all() and frames.sum() == 160
    assert torch.equal(shifted(2).segment(mask, frame=0)[0], frames[0])
    assert torch.equal(resized_labels(mask, (20, 24)), frames[0])
    with pytest.raises(InputError, match="a mask of 24x24 pixels does not fit the canonical image of 24x20"):
        shifted().segment(torch.zeros(24, 24, dtype=torch.bool))


def test_where_colours_are_explained_does_not_matter():
    video = shifted(2)
    mask = blobs(20, 24, 4)
    expected = video.segment(mask), video.segment(mask, frame=1)
    video.visibility = torch.zeros(2, 20, 24, dtype=torch.bool)
    assert torch.equal(video.segment(mask), expected[0]) and torch.equal(video.segment(mask, frame=1), expected[1])


def test_what_masks_may_be():
    levels = np.array([[0, 3], [7, 0]], np.uint8)
    assert to_labels(levels).tolist() == levels.tolist()
    assert to_labels(levels.astype(np.uint16)).dtype == torch.int64
    assert to_labels(torch.tensor([[0.0, 1.0]])).tolist() == [[False, True]]
    assert to_labels([[True, False]]).dtype == torch.bool
    palette = Image.fromarray(levels).convert("P")
    palette.putdata([0, 3, 7, 0])
    assert to_labels(palette).tolist() == levels.tolist()
    assert to_labels(Image.fromarray(levels)).tolist() == levels.tolist()
    assert to_labels(Image.fromarray(np.uint8([[0, 255]]))).tolist() == [[False, True]]
    assert to_labels(Image.fromarray(np.uint8([[0, 255]]), "L").convert("RGB")).tolist() == [[False, True]]
    soft = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert torch.equal(to_labels(Image.fromarray(soft)), torch.from_numpy(soft > 127))
    painted = np.zeros((2, 2, 4), np.uint8)
    painted[0, 1] = (200, 30, 10, 255)
    assert to_labels(Image.fromarray(painted)).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(3, 4, 4, dtype=torch.bool), r"\(H, W\), got shape \(3, 4, 4\)"),
        (torch.zeros(0, 4, dtype=torch.bool), r"\(H, W\)"),
        (torch.full((4, 4), 0.5), "0 and 1 only"),
        (torch.full((4, 4), -2), "start at 0, the background, got -2"),
        (np.array([["a", "b"]]), "boolean or of integer labels"),
        (np.zeros((2, 2), complex), "boolean or of integer labels"),
        (Image.fromarray(np.uint8([[[255, 0, 0]]])), "coloured"),
        (Image.new("CMYK", (2, 2)), "CMYK"),
    ],
)
def test_bad_masks_are_named(mask, message):
    with pytest.raises(InputError, match=message):
        to_labels(mask)


def test_bad_frames_are_named():
    with pytest.raises(InputError, match="between 0 and 3, got 4"):
        shifted().segment(torch.zeros(20, 24, dtype=torch.bool), frame=4)


def test_files_hold_the_masks(tmp_path):
    video = shifted()
    for labels in (blobs(20, 24, 4).to(torch.uint8), blobs(20, 24, 2) == 1, blobs(20, 24, 3) * 300):
        masks = video.segment(labels)
        drawn = []
        write_masks(video, masks, [labels], tmp_path / "out", lambda drawn=drawn: drawn.append(1))
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["canonical_mask.png", "masks", "overlay.mp4", "segments.png"] and len(drawn) == 4
        with Image.open(tmp_path / "out" / "masks" / "00002.png") as image:
            assert torch.equal(to_labels(image).long(), masks[2].long())
            assert image.mode == {torch.bool: "L", torch.uint8: "P", torch.int64: "I;16"}[labels.dtype]
        with Image.open(tmp_path / "out" / "canonical_mask.png") as image:
            assert torch.equal(to_labels(image).long(), labels.long())
    with pytest.raises(InputError, match=r"up to 65535 .* got 70000"):
        write_masks(video, masks * 0, [labels * 0 + 70000], tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []
