import numpy as np
import pytest
import torch
from PIL import Image

from gendef.errors import InputError
from gendef.media.images import over, read_image, resized, to_image_tensor, to_rgba_tensor

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        torch.from_numpy(PIXELS),
        PIXELS.transpose(2, 0, 1),
        Image.fromarray(PIXELS),
        PIXELS.astype(np.float64) / 127.5 - 1,
        torch.from_numpy(PIXELS).movedim(2, 0) / 127.5 - 1,
    ],
    ids=["array", "tensor", "channels first", "pil", "float array", "float tensor"],
)
def test_all_kinds_of_images_are_the_same(image):
    value = to_image_tensor(image)
    assert value.dtype == torch.float32 and value.shape == (3, 4, 5)
    torch.testing.assert_close(value, torch.from_numpy(PIXELS).movedim(2, 0) / 127.5 - 1)


def test_grey_palette_deep_and_transparent_pictures():
    grey = Image.new("L", (3, 2), 255)
    assert (to_image_tensor(grey) == 1).all()
    assert (to_image_tensor(grey.convert("1")) == 1).all()
    deep = Image.fromarray(np.full((2, 3), 65535, np.uint16))
    assert deep.mode.startswith("I") and (to_image_tensor(deep) == 1).all()
    colour, alpha = to_rgba_tensor(Image.new("LA", (3, 2), (0, 51)))
    assert (colour == -1).all()
    torch.testing.assert_close(alpha, torch.full((1, 2, 3), 0.2))
    palette = Image.new("P", (3, 2))
    palette.info["transparency"] = 0
    assert (to_rgba_tensor(palette)[1] == 0).all()
    assert to_rgba_tensor(grey)[1] is None


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 6, 2), np.uint8), "8-bit image must be"),
        (np.zeros(4, np.uint8), "8-bit image must be"),
        (np.zeros((4, 5), np.float32), "floating image must be"),
        (np.zeros((4, 5, 3), np.int32), "must be uint8, or floating"),
        (np.full((4, 5, 3), 255.0), "up to 255: give 0 to 255 as uint8"),
        (None, "got NoneType"),
    ],
)
def test_other_things_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        to_image_tensor(image)


def test_half_transparent_over():
    below = torch.full((3, 4, 4), -1.0)
    picture = np.full((4, 4, 4), 255, np.uint8)
    picture[..., 3] = 51
    torch.testing.assert_close(over(below, picture), torch.full((3, 4, 4), -0.6))
    opaque = np.full((9, 7, 3), 255, np.uint8)
    assert over(below, opaque).shape == (3, 9, 7), "without alpha it takes the place of what was there"


def test_transparent_colours_do_not_bleed_when_enlarged():
    below = torch.zeros(3, 16, 16)
    picture = np.zeros((4, 4, 4), np.uint8)
    picture[..., 0] = 255  # all is red, but only the left half can be seen, in green
    picture[:, :2] = (0, 255, 0, 255)
    result = over(below, picture)
    assert float(result[0].max()) <= 0, "no red"
    assert (result[1] >= 0).all() and (result[:, :, 12:] == 0).all()


def test_resized_does_not_alias():
    stripes = torch.zeros(1, 8, 64)
    stripes[..., ::2] = 1
    small = resized(stripes, (8, 16))
    assert float((small[..., 2:-2] - 0.5).abs().max()) < 0.01
    assert resized(stripes, (8, 64)) is stripes


def test_reading_turns_photos_upright(tmp_path):
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # held on its side
    image.save(tmp_path / "photo.jpg", exif=exif)
    assert read_image(tmp_path / "photo.jpg").size == (4, 6)


def test_unreadable_files(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match="not a readable image"):
        read_image(tmp_path / "text.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not a readable image"):
        read_image(tmp_path / "cut.png")
    with pytest.raises(InputError, match="not a readable image"):
        read_image(tmp_path)
    monkeypatch.setattr("gendef.media.images.MAX_PIXELS", 1000)
    with pytest.raises(InputError, match="64x64: more than 1000 pixels"):
        read_image(tmp_path / "whole.png")
