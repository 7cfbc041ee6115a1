import numpy as np
import pytest
import torch
from PIL import Image

from gendef.animation.photograph import read_photograph
from gendef.errors import InputError


def picture(height=40, width=60, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)


def test_a_photograph_keeps_its_pixels():
    photograph = read_photograph(Image.fromarray(picture()))
    assert photograph.source_size == photograph.size == (40, 60)
    assert torch.equal(photograph.image, torch.from_numpy(picture()).movedim(-1, 0) / 127.5 - 1)
    assert photograph.notes == ()


def test_the_camera_that_was_held_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture()).save(tmp_path / "photo.jpg", exif=exif)
    assert read_photograph(tmp_path / "photo.jpg").size == (60, 40)


def test_what_is_transparent_lies_on_white():
    colours = picture(channels=4)
    colours[..., 3] = 0
    colours[:20, :, 3] = 255
    photograph = read_photograph(Image.fromarray(colours, "RGBA"))
    assert torch.equal(photograph.image[:, 20:], torch.ones(3, 20, 60))
    assert torch.allclose(photograph.image[:, :20], torch.from_numpy(colours[:20, :, :3]).movedim(-1, 0) / 127.5 - 1)


@pytest.mark.parametrize("size", [None, 20])
def test_grey_and_16_bits(size):
    grey = (np.arange(40 * 60).reshape(40, 60) * 27).astype(np.uint16)
    deep = read_photograph(Image.fromarray(grey), size)
    eight = read_photograph(Image.fromarray((grey // 257).astype(np.uint8)), size)
    assert deep.size == eight.size == ((40, 60) if size is None else (20, 30))
    assert (deep.image - eight.image).abs().mean() < 0.02


def test_size_is_that_of_the_shorter_side_and_never_enlarges():
    assert read_photograph(picture(100, 160), 50).size == (50, 80)
    assert read_photograph(picture(), 50).size == (40, 60)
    assert read_photograph(picture(100, 160), 50).source_size == (100, 160)


def test_huge_photographs_are_reduced_and_that_is_said():
    photograph = read_photograph(Image.new("L", (10_000, 9_000)))
    height, width = photograph.size
    assert 0.99 < height * width / (3840 * 2160) <= 1.001
    assert width / height == pytest.approx(10 / 9, rel=1e-3)
    assert "10000x9000" in photograph.notes[0]


@pytest.mark.parametrize("shape", [(15, 200), (8, 8)])
def test_stamps_are_refused(shape):
    with pytest.raises(InputError, match=f"{shape[1]}x{shape[0]}"):
        read_photograph(picture(*shape))


def test_sizes_that_are_too_small_are_refused():
    with pytest.raises(InputError, match="5"):
        read_photograph(picture(), 5)


def test_files_that_are_no_images_are_refused(tmp_path):
    (tmp_path / "photo.jpg").write_text("no")
    with pytest.raises(InputError):
        read_photograph(tmp_path / "photo.jpg")
    with pytest.raises(InputError):
        read_photograph(tmp_path / "missing.jpg")
