import av
import numpy as np
import pytest
import torch
from PIL import Image

from gendef.errors import InputError
from gendef.media.animated_pictures import write_gif
from gendef.media.images import to_uint8
from gendef.media.video_writer import MAX_WAITING, VideoWriter, write_video
from gendef.runtime.atomic_file import replacing


def read(path):
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], float(rate)


def gradient(height, width, shift):
    x = np.linspace(0, 200, width)[None].repeat(height, 0)
    return np.stack((x, x[:, ::-1], np.full_like(x, 40 + shift)), axis=-1).astype(np.uint8)


def test_to_uint8_rounds_and_clamps():
    values = torch.tensor([-2.0, -1.0, 0.0, 0.999, 3.0]).expand(3, 1, 5)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    every = torch.arange(256).expand(3, 1, 256) / 127.5 - 1
    assert to_uint8(every)[0, :, 1].tolist() == list(range(256))


@pytest.mark.parametrize(("size", "written"), [((300, 260), (300, 260)), ((301, 259), (302, 260))])
def test_frames_come_back(tmp_path, size, written):
    frames = [gradient(*size, 10 * t) for t in range(6)]
    write_video(tmp_path / "a.mp4", iter(frames), 29.97)
    again, fps = read(tmp_path / "a.mp4")
    assert len(again) == 6 and again[0].shape == (*written, 3)
    assert fps == pytest.approx(29.97, abs=0.01)
    for frame, other in zip(frames, again, strict=True):
        assert np.abs(frame.astype(int) - other[: size[0], : size[1]]).mean() < 2
    # The added row and column repeat their neighbours.
    assert np.abs(again[0][-1].astype(int) - again[0][-2]).mean() < 3


def test_stamps_are_enlarged_unless_asked_not_to(tmp_path):
    frames = [gradient(20, 50, 0)] * 2
    write_video(tmp_path / "large.mp4", frames, 25)
    assert read(tmp_path / "large.mp4")[0][0].shape == (260, 650, 3)
    write_video(tmp_path / "small.mp4", frames, 25, enlarge=False)
    assert read(tmp_path / "small.mp4")[0][0].shape == (20, 50, 3)


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        ([], 25, "no frames"),
        ([np.zeros((8, 8, 3), np.float32)], 25, "must be uint8"),
        ([np.zeros((8, 8), np.uint8)], 25, "must be uint8"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)], 25, "one size"),
        ([np.zeros((8, 8, 3), np.uint8)], 0, "fps must be between"),
        ([np.zeros((8, 8, 3), np.uint8)], 1e9, "fps must be between"),
    ],
)
def test_unfit_frames_leave_no_file(tmp_path, frames, fps, message):
    with pytest.raises(InputError, match=message):
        write_video(tmp_path / "a.mp4", frames, fps)
    assert list(tmp_path.iterdir()) == []


def test_many_frames_keep_their_order(tmp_path):
    levels = [(37 * t) % 200 + 20 for t in range(3 * MAX_WAITING)]
    write_video(tmp_path / "a.mp4", (np.full((64, 64, 3), level, np.uint8) for level in levels), 25, enlarge=False)
    again, _ = read(tmp_path / "a.mp4")
    np.testing.assert_allclose([frame.mean() for frame in again], levels, atol=2)


@pytest.mark.parametrize("bad", [1, 2 * MAX_WAITING])
def test_an_error_of_the_encoder_reaches_the_caller(tmp_path, monkeypatch, bad):
    encode, count = VideoWriter._encode, iter(range(1000))

    def failing(self, frame, time):
        if next(count) == bad:
            raise OSError("disk full")
        encode(self, frame, time)

    monkeypatch.setattr(VideoWriter, "_encode", failing)
    with pytest.raises(OSError, match="disk full"):
        write_video(tmp_path / "a.mp4", [gradient(64, 64, 0)] * (2 * MAX_WAITING + 1), 25)
    assert list(tmp_path.iterdir()) == []


def test_gif(tmp_path):
    frames = [gradient(30, 40, 60 * t) for t in range(3)]
    write_gif(tmp_path / "a.gif", iter(frames), 20)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.info["duration"] == 50 and gif.info["loop"] == 0
        gif.seek(2)
        assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - frames[2]).mean() < 12
    with pytest.raises(InputError, match="no frames"):
        write_gif(tmp_path / "b.gif", [], 20)


def test_replacing_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]
