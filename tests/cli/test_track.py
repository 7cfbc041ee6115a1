import json

import numpy as np
import pytest
import torch

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
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00,1")
    with pytest.raises(InputError, match="not a text file"):
        read_points(tmp_path / "bytes.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give --points"),
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
