"""EXR files against OpenEXR's own reader and writer, and OpenImageIO."""

import numpy as np
import pytest

from gendef.errors import DataError, InputError
from gendef.media.exr import read_exr, srgb_decoded, srgb_encoded, write_exr
from gendef.media.still_images import decode_rgba

OpenEXR = pytest.importorskip("OpenEXR", reason="needs the extra vfx")


def ramp():
    return np.linspace(-2, 3, 35, dtype=np.float32).reshape(5, 7)


def test_channels_come_back_to_the_bit(tmp_path):
    write_exr(tmp_path / "a.exr", {"R": ramp(), "stmap.G": ramp() * 1e-6}, {"comments": "made by a test"})
    with OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        np.testing.assert_array_equal(file.channels()["stmap.G"].pixels, ramp() * np.float32(1e-6))
        assert file.header()["comments"] == "made by a test"
    np.testing.assert_array_equal(read_exr(tmp_path / "a.exr")["R"], ramp())


def test_the_display_window_is_what_is_read(tmp_path):
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "dataWindow": (np.array([-1, 2], np.int32), np.array([5, 6], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([7, 7], np.int32)),
    }
    with OpenEXR.File(header, {"R": ramp()}) as file:
        file.write(str(tmp_path / "a.exr"))
    found = read_exr(tmp_path / "a.exr")["R"]
    expected = np.zeros((8, 8), np.float32)
    expected[2:7, 0:6] = ramp()[:, 1:]
    np.testing.assert_array_equal(found, expected)


def test_linear_light_is_shown_as_srgb(tmp_path):
    linear = {
        channel: np.full((4, 4), value, np.float32) for channel, value in zip("RGBA", (0, 0.2140, 1, 0.5), strict=True)
    }
    write_exr(tmp_path / "a.exr", linear)
    image, alpha = decode_rgba((tmp_path / "a.exr").read_bytes(), "a.exr")
    assert image[0, 0].tolist() == [0, 127, 255] and alpha[0, 0] == 128  # 21.4 % of light is half of sRGB
    values = np.linspace(0, 1, 50)
    np.testing.assert_allclose(srgb_decoded(srgb_encoded(values)), values, atol=1e-7)


def test_what_is_wrong(tmp_path):
    (tmp_path / "a.exr").write_bytes(b"nonsense" * 20)
    with pytest.raises(DataError, match=r"a\.exr"):
        read_exr(tmp_path / "a.exr")
    with pytest.raises(InputError):
        write_exr(tmp_path / "b.exr", {"R": ramp(), "G": ramp()[1:]})
    assert not (tmp_path / "b.exr").exists()
