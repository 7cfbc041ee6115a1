import numpy as np
import pytest
from PIL import Image

from gendef.errors import DataError, InputError
from gendef.media.footage import read_footage


def write(folder, images):
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def grey(level, height=32, width=48):
    return np.full((height, width, 3), level, np.uint8)


def noise(seed, height=32, width=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_size_start_and_count(tmp_path):
    folder = write(tmp_path / "a", [noise(0)] * 5)
    footage = read_footage(folder, 16, 1, 3)
    assert [scene.numbers for scene in footage.scenes] == [[1, 2, 3]]
    assert footage.scenes[0].frames[0].shape == (16, 24, 3)
    assert read_footage(folder, 270).scenes[0].frames[0].shape == (32, 48, 3)  # never enlarged


@pytest.mark.parametrize("size", [94, 111, 200, 269])
def test_rounding_does_not_lead_outside_the_frame(tmp_path, size):
    for name, (height, width) in {"upright": (480, 368), "lying": (368, 480)}.items():
        footage = read_footage(write(tmp_path / name, [noise(0, height, width)]), size)
        assert min(footage.scenes[0].frames[0].shape[:2]) == size


def test_other_sizes_are_cut_to_the_first(tmp_path):
    footage = read_footage(write(tmp_path / "a", [noise(0), noise(0, 64, 64), noise(0, 40, 90)]), 270)
    assert {frame.shape for scene in footage.scenes for frame in scene.frames} == {(32, 48, 3)}
    assert "3 sizes" in footage.notes[0]


def test_cuts_make_scenes(tmp_path):
    left, right = np.roll(noise(0) // 4, 1, 0), 180 + noise(1) // 4
    footage = read_footage(write(tmp_path / "a", [left] * 6 + [right] * 7), 270)
    assert [scene.numbers for scene in footage.scenes] == [list(range(6)), list(range(6, 13))]
    assert "cuts at frame 6" in footage.notes[0]


@pytest.mark.parametrize("dark", [[0, 1], [3], [7, 8]])
def test_black_frames_are_no_scene(tmp_path, dark):
    frames = [grey(0) if number in dark else noise(0) for number in range(9)]
    footage = read_footage(write(tmp_path / "a", frames), 270)
    assert len(footage.scenes) == 1 and footage.scenes[0].blank == dark


def test_a_black_video_is_a_scene(tmp_path):
    footage = read_footage(write(tmp_path / "a", [grey(0)] * 3), 270)
    assert len(footage.scenes) == 1 and footage.scenes[0].blank == []


def test_mistakes_have_names(tmp_path):
    folder = write(tmp_path / "a", [noise(0)] * 2)
    with pytest.raises(InputError, match=r"start is frame 5, but .* has 2 frames"):
        read_footage(folder, 270, 5)
    with pytest.raises(InputError, match="size must be at least 16 pixels, got 8"):
        read_footage(folder, 8)
    with pytest.raises(InputError, match="frames must be at least 1, got 0"):
        read_footage(folder, 270, 0, 0)
    with pytest.raises(InputError, match="start must not be negative, got -1"):
        read_footage(folder, 270, -1)
    with pytest.raises(DataError, match="does not exist"):
        read_footage(tmp_path / "none.mp4", 270)
    with pytest.raises(DataError, match="holds 2 videos"):
        write(tmp_path / "b", [noise(0)])
        read_footage(tmp_path, 270)
    with pytest.raises(DataError, match="at least 16 pixels are needed"):
        read_footage(write(tmp_path / "small", [grey(9, 8, 8)]), 270)
    (tmp_path / "bad.mp4").write_bytes(b"this is no video")
    with pytest.raises(DataError, match=r"bad\.mp4 cannot be decoded"):
        read_footage(tmp_path / "bad.mp4", 270)
