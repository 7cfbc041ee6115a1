import json

from gendef.cli import bench
from gendef.cli.main import main


def test_bench_of_a_model(model_folder, tmp_path, capsys):
    out = tmp_path / "bench.json"
    arguments = ["--model", str(model_folder), "--frames", "3", "--runs", "1", "--out", str(out)]
    assert bench.main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(out.read_text()) and report["frames"] == 3 and report["machine"]["torch"]
    assert bench.main([*arguments, "--no-reference"]) == 0
    assert "frames/s in all" in capsys.readouterr().out


def test_mistakes(capsys):
    for arguments, words in (
        (["--frames", "0"], "--frames must be at least 1, got 0"),
        (["--model", "sky", "--preset", "tiny32"], "exclude each other"),
        (["--model", "nobody"], "there is no model 'nobody'"),
    ):
        assert main(["bench", *arguments]) == 2
        assert words in capsys.readouterr().err
