import json

import numpy as np
import pytest
import torch
from PIL import Image

from gendef.animation.motion_data import make_motion_data
from gendef.animation.motion_windows import MotionDataConfig, motion_windows
from gendef.cli.main import main
from gendef.data.motions import MotionSet
from gendef.errors import ConfigError, DataError
from gendef.media.sources import discover
from gendef.media.video_writer import write_video

pytest.importorskip("cv2", reason="needs the extra fit")
CONFIG = MotionDataConfig(span=33, stride=4, side=48, grid=8, image_side=16)


def texture(seed, height=48, width=160):
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 4, width // 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def drifting(count, seed=0, speed=1):
    """Frames of 48x64 whose content goes `speed` pixels a frame to the left."""
    wide = texture(seed)
    return [np.ascontiguousarray(wide[:, speed * t : speed * t + 64]) for t in range(count)]


@pytest.fixture(scope="module")
def drift(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "drift.mp4"
    write_video(path, drifting(41), 25, enlarge=False)
    return path


def windows_of(path, config=CONFIG):
    return motion_windows(discover([path])[0], config, "sky")


def test_fields_lead_back_to_the_middle_frame(drift):
    windows = windows_of(drift)
    assert windows.start.tolist() == [0, 4, 8] and windows.span.tolist() == [33] * 3
    # Content goes 1 of 64 pixels to the left: at time t a place shows what the middle frame has t pixels further right.
    times = torch.tensor(windows.key_times)
    found = windows.fields[1].float()[:, 2:6, 3:5]
    torch.testing.assert_close(found[..., 0].mean(dim=(1, 2)), times * 2 / 64, atol=0.02, rtol=0.05)
    assert found[..., 1].abs().max() < 0.02
    assert windows.psnr.min() > windows.still_psnr.max() + 5


def test_what_leaves_the_frame_is_not_visible(drift):
    windows = windows_of(drift)
    last = windows.visible[0, -1].float() / 255  # at +16 frames the right 16 of 64 pixels were outside
    assert last[:, 7].max() < 0.3 and last[2:6, 2:5].min() > 0.9


def test_no_window_crosses_a_cut(tmp_path):
    dark = [frame // 3 for frame in drifting(36, 5, speed=2)]
    write_video(tmp_path / "cut.mp4", drifting(36, 0) + dark, 25, enlarge=False)
    windows = windows_of(tmp_path / "cut.mp4")
    starts = windows.start.tolist()
    assert windows.sources[0]["shots"] == 2
    assert starts and all(start + 33 <= 36 or start >= 36 for start in starts)


def test_a_short_shot_is_stretched(tmp_path):
    write_video(tmp_path / "short.mp4", drifting(35), 25, enlarge=False)
    windows = windows_of(tmp_path / "short.mp4", MotionDataConfig(side=48, grid=8, image_side=16))
    assert len(windows) == 1 and windows.span.tolist() == [35]
    assert windows.key_times[-1] == 32
    # 17 frames of motion are shown in 32.
    torch.testing.assert_close(
        windows.fields[0, -1, 3:5, 2:4, 0].float().mean(), torch.tensor(17 * 2 / 64), atol=0.04, rtol=0
    )


def test_fields_that_explain_nothing_are_left_out_and_counted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "noise.mp4", list(noise), 25, enlarge=False)
    windows = windows_of(tmp_path / "noise.mp4")
    about = windows.sources[0]
    assert len(windows) == 0 and about["windows"] == 0 and about["left_out"] == about["shots"] * 2


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="40"):
        MotionDataConfig(span=40)
    with pytest.raises(ConfigError, match="0"):
        MotionDataConfig(stride=0)


def test_interrupted_work_goes_on(drift, tmp_path, monkeypatch):
    out = tmp_path / "sky.motions"
    other = tmp_path / "other.mp4"
    write_video(other, drifting(34, 3), 25, enlarge=False)
    whole = make_motion_data([drift, other], out, CONFIG, workers=1)
    assert whole.windows == len(MotionSet.load(out)) and not out.with_name("sky.motions.parts").exists()

    def no_disk(self, path):
        if path.name == "again.motions":
            raise OSError("no space left")
        save(self, path)

    save = MotionSet.save
    again = tmp_path / "again.motions"
    monkeypatch.setattr(MotionSet, "save", no_disk)
    with pytest.raises(OSError):
        make_motion_data([drift, other], again, CONFIG, workers=1)
    monkeypatch.undo()
    parts = {part.name: part.stat().st_mtime_ns for part in again.with_name("again.motions.parts").iterdir()}
    assert len(parts) == 2
    seen = []
    make_motion_data([drift, other], again, CONFIG, workers=1, progress=seen.append)
    assert not seen  # nothing was left to do
    one, two = MotionSet.load(out), MotionSet.load(again)
    assert torch.equal(one.fields, two.fields[: len(one)]) and one.labels == ("sky",) and two.labels == ("again",)


def test_the_command(drift, tmp_path, capsys):
    out = tmp_path / "clouds.motions"
    options = ["--span", "33", "--stride", "8", "--side", "48", "--grid", "8", "--workers", "1", "--json"]
    assert main(["data", "motions", str(drift), "--out", str(out), "--label", "sky", *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["windows"] == len(MotionSet.load(out)) == 2 and report["left_out"] == 0


def test_videos_too_short_are_an_error(tmp_path):
    write_video(tmp_path / "short.mp4", drifting(20), 25, enlarge=False)
    with pytest.raises(DataError, match="33"):
        make_motion_data([tmp_path / "short.mp4"], tmp_path / "x.motions", CONFIG, workers=1)
    assert main(["data", "motions", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "x.motions")]) == 2
