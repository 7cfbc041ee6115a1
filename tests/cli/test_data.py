"""`gendef data prepare` and `gendef data info` as a user meets them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendef.cli.main import main


@pytest.fixture
def frames(tmp_path) -> Path:
    """A folder of 12 frames of 40x24."""
    folder = tmp_path / "clip"
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (24, 60, 3), np.uint8)
    for index in range(12):
        Image.fromarray(picture[:, index : index + 40]).save(folder / f"{index}.png")
    return folder


def test_prepare_and_info(tmp_path, frames, capsys):
    out = tmp_path / "set.zip"
    assert main(["data", "prepare", str(frames), "--out", str(out), "--resolution", "16", "--crops", "2"]) == 0
    assert "2 clips, 24 frames of 16x16" in capsys.readouterr().out
    assert main(["data", "info", str(out), "--sheet", str(tmp_path / "sheet.png"), "--columns", "5"]) == 0
    printed = capsys.readouterr().out
    assert "24 of 16x16" in printed and "2 from 1 sources" in printed
    assert Image.open(tmp_path / "sheet.png").size == (5 * 18 + 2, 2 * 18 + 2)


def test_json(tmp_path, frames, capsys):
    (frames / "5.png").write_bytes(b"broken")
    out = tmp_path / "set.zip"
    assert main(["data", "prepare", str(frames), "--out", str(out), "--resolution", "16", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["counts"]["frames"] == 11 and report["counts"]["clips"] == 2
    assert "skipped: clip: 5.png" in captured.err
    assert main(["data", "info", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["frames_per_clip"] == {"min": 5, "median": 5.5, "max": 6}
    assert facts["clips_shorter_than_32"] == 2 and len(facts["fingerprint"]) == 64
    assert facts["skipped"][0]["source"] == "clip: 5.png"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--resolution", "0"], "resolution must be at least 1, got 0"),
        (["--resolution", "-5"], "resolution must be at least 1, got -5"),
        (["--crops", "0"], "crops must be at least 1, got 0"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--min-frames", "99"], "no clip has 99 frames or more"),
        (["--fps", "5", "--stride", "2"], "either fps or stride"),
        (["--only", "nothing*"], "leave none of the 1 sources"),
    ],
)
def test_mistakes_end_with_one_sentence(tmp_path, frames, capsys, options, named):
    out = tmp_path / "set.zip"
    assert main(["data", "prepare", str(frames), "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert named in error and len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip"]


def test_missing_things(tmp_path, capsys):
    assert main(["data", "prepare", str(tmp_path / "no"), "--out", str(tmp_path / "x.zip")]) == 2
    assert main(["data", "prepare", "--out", str(tmp_path / "x.zip")]) == 2
    assert main(["data", "info", str(tmp_path / "no.zip")]) == 2
    assert main(["data", "shuffle"]) == 2
    assert main(["data"]) == 2
    error = capsys.readouterr().err
    for text in ("does not exist", "no source was given", "is not a file", "unknown command 'shuffle'"):
        assert text in error


def test_sheet_needs_rows(tmp_path, frames, capsys):
    out = tmp_path / "set.zip"
    main(["data", "prepare", str(frames), "--out", str(out), "--resolution", "16"])
    assert main(["data", "info", str(out), "--sheet", str(tmp_path / "s.png"), "--rows", "0"]) == 2
    assert not (tmp_path / "s.png").exists()


@pytest.mark.parametrize("command", [[], ["prepare"], ["info"]])
def test_help_shows_an_example(capsys, command):
    try:
        status = main(["data", *command, "--help"])
    except SystemExit as stop:
        status = stop.code
    assert status == 0
    assert "example: gendef data" in capsys.readouterr().out
