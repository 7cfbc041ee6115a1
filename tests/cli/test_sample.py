import json
import subprocess
import sys

import pytest
import torch

from gendef import CanonicalVideo
from gendef.cli.main import main


def test_writes_clips_videos_and_a_sheet(model_folder, tmp_path, capsys):
    out = tmp_path / "videos"
    status = main(
        [
            "sample",
            str(model_folder),
            "--seeds",
            "0,2",
            "--frames",
            "5",
            "--out",
            str(out),
            "--draw",
            "--gif",
            "--grid",
            "--frame-files",
            "--json",
        ]
    )
    assert status == 0
    report = json.loads(capsys.readouterr().out)
    assert [clip["content_seed"] for clip in report["clips"]] == [0, 2]
    for name in (
        "seed0002.mp4",
        "seed0002.gif",
        "seed0002_deformation.mp4",
        "seed0002_flow.mp4",
        "grid.mp4",
        "sheet.png",
    ):
        assert (out / name).stat().st_size > 100, name
    assert len(list((out / "seed0000_frames").iterdir())) == 5
    clip = CanonicalVideo.load(out / "seed0002")
    assert clip.num_frames == 5 and clip.fps == 12.5


def test_slow_motion_and_fixed_content(model_folder, tmp_path):
    out = tmp_path / "slow"
    arguments = ["sample", str(model_folder), "--seeds", "0-1", "--frames", "5", "--out", str(out)]
    assert main([*arguments, "--content-seed", "9", "--slow-motion", "4"]) == 0
    first, second = (CanonicalVideo.load(out / f"seed000{k}") for k in (0, 1))
    assert torch.equal(first.canonical, second.canonical)
    assert first.info["times"] == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "-3"], "at least 1, got -3"),
        (["--seeds", "a-b"], "seeds must look like"),
        (["--seeds", "5-2"], "empty"),
        (["--truncation", "7"], "between 0 and 2"),
        (["--fps", "0"], "--fps must be positive"),
        (["--slow-motion", "0"], "must be positive"),
        (["--label", "1"], "no classes"),
        (["--device", "abacus"], "cannot be used"),
    ],
)
def test_mistakes_end_in_one_sentence(model_folder, tmp_path, capsys, options, message):
    out = tmp_path / "videos"
    assert main(["sample", str(model_folder), "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.glob("videos/*")), "nothing half-written"


def test_missing_model_ends_with_status_2(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "gendef", "sample", "moon", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2
    assert "there is no model 'moon'" in process.stderr and "Traceback" not in process.stderr
