"""Edits over the original footage: untouched pixels are the source's own."""

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.editing.edit import apply_filter, edit_canonical, overlay
from gendef.editing.over_source import change_masks, composited, edit_cover, layer_frames, mask_video
from gendef.errors import InputError
from gendef.media.images import to_uint8
from gendef.media.source_frames import describe_source, open_source

SIZE, LARGE = (24, 32), (48, 64)


@pytest.fixture
def footage(tmp_path):
    """Frames of twice the clip's size with detail that the clip does not have, and the clip."""
    noise = np.random.default_rng(0)
    folder = tmp_path / "frames"
    folder.mkdir()
    frames = [noise.integers(60, 200, (*LARGE, 3), dtype=np.uint8) for _ in range(4)]
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    clip = CanonicalVideo(torch.zeros(3, *SIZE), torch.zeros(3, *SIZE, 2))
    clip.info["footage"] = describe_source(folder, [1, 2, 3], None)
    return folder, frames[1:], clip


def square(alpha=255):
    """A red square in the upper left quarter."""
    drawing = np.zeros((*SIZE, 4), np.uint8)
    drawing[4:10, 4:12] = (255, 0, 0, alpha)
    return drawing


def test_only_the_paint_covers_the_source(footage):
    _, frames, clip = footage
    edited = overlay(clip, square())
    source = open_source(clip.info)
    assert source is not None and source.size == LARGE and source.numbers == (1, 2, 3)
    for frame, out in zip(frames, composited(clip, edited, source.pictures(), LARGE), strict=True):
        changed = (out != frame).any(axis=-1)
        inside = np.zeros(LARGE, bool)
        inside[6:22, 6:26] = True  # the square at twice the size, and a pixel of blending around it
        assert not changed[~inside].any()
        assert (out[10:18, 10:22] == (255, 0, 0)).all()


def test_what_a_frame_does_not_show_is_not_painted(footage):
    _, frames, clip = footage
    hidden = CanonicalVideo(
        clip.canonical, clip.deformation, info=clip.info, visibility=torch.zeros(3, *SIZE, dtype=torch.bool)
    )
    out = list(composited(hidden, overlay(hidden, square()), iter(frames), LARGE))
    np.testing.assert_array_equal(np.stack(out), np.stack(frames))


def test_a_filter_keeps_the_detail_of_the_source(footage):
    _, frames, clip = footage
    darker = apply_filter(clip, lambda image: image - 0.2)
    out = np.stack(list(composited(clip, darker, iter(frames), LARGE, "difference"))).astype(int)
    assert np.abs(out - (np.stack(frames) - 25.5)).max() <= 1


def test_an_unchanged_picture_changes_nothing(footage, tmp_path):
    _, _, clip = footage
    clip = clip.with_canonical(torch.linspace(-1, 1, 3 * 24 * 32).reshape(3, *SIZE))
    Image.fromarray(to_uint8(clip.canonical)).save(tmp_path / "canonical.png")
    edited = edit_canonical(clip, Image.open(tmp_path / "canonical.png"))
    assert torch.equal(edited.canonical, clip.canonical)
    assert float(change_masks(clip, edited)[0].max()) == 0


def test_the_edit_alone_has_its_alpha(footage):
    _, _, clip = footage
    first = next(layer_frames(clip, overlay(clip, square()), SIZE))
    assert first.shape == (*SIZE, 4)
    assert (first[5:9, 5:11] == (255, 0, 0, 255)).all() and first[14:, :, 3].max() == 0
    cover = edit_cover(mask_video(clip, overlay(clip, square())), 0, SIZE)
    assert cover.shape == (1, *SIZE) and float(cover.min()) >= 0 and float(cover.max()) == 1


def test_sources_are_found_and_told_apart(footage, tmp_path):
    folder, _, clip = footage
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert open_source(clip.info) is None
    assert open_source(clip.info, moved).size == LARGE
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (8, 8)).save(other / "0.png")
    with pytest.raises(InputError, match="other"):
        open_source(clip.info, other)
    with pytest.raises(InputError, match="nowhere"):
        open_source(clip.info, tmp_path / "nowhere")
    assert open_source({}) is None
    with pytest.raises(InputError):
        open_source({}, moved)
