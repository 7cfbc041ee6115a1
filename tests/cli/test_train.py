import pytest

from gendef.cli.main import main
from gendef.training.presets import PRESETS, preset

from ..training.conftest import archive_path  # noqa: F401


def test_every_preset_is_consistent():
    for name, (_, config) in PRESETS.items():
        assert preset(name) is config
        assert config.stylegan_v.resolution == config.generator.resolution


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "mini64"], "prepare the data with --resolution 64"),
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--minutes", "-1"], "--minutes must be positive"),
        (["--micro-batch", "0"], "--micro-batch must be at least 1, got 0"),
        (["--config", "missing.yaml"], "cannot be read as YAML"),
        (["--device", "abacus"], "cannot be used here"),
    ],
)
def test_mistakes_end_in_one_sentence(archive_path, tmp_path, capsys, arguments, message):  # noqa: F811
    out = tmp_path / "run"
    if "--device" in arguments:
        arguments = [*arguments, "--generator.resolution", "16", "--stylegan-v.resolution", "16"]
    assert main(["train", "--data", str(archive_path), "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not out.exists(), "nothing half-written"


def test_missing_data(tmp_path, capsys):
    assert main(["train", "--data", str(tmp_path / "none.zip"), "--out", str(tmp_path / "run")]) == 2
    assert "none.zip" in capsys.readouterr().err
