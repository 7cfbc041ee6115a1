import json

import pytest
import torch

from gendef import CanonicalVideo
from gendef.cli import export
from gendef.cli.main import main


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    CanonicalVideo(torch.rand(3, 16, 16), torch.rand(3, 16, 16, 2) * 0.1, 10).save(tmp_path / "my clip")
    return tmp_path / "my clip"


def test_the_page_is_named_after_the_clip(folder, tmp_path, capsys):
    out = tmp_path / "new" / "a.html"
    assert main(["export", str(folder), "--html", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["html"] == str(out) and report["bytes"] == out.stat().st_size
    assert "<h1>my clip</h1>" in out.read_text()
    assert main(["export", str(folder), "--html", str(out), "--title", "Monday"]) == 0
    assert "<h1>Monday</h1>" in out.read_text()
    assert "grey levels from the rendered video" in capsys.readouterr().out


def test_mistakes_end_with_one_sentence(folder, tmp_path, capsys):
    page = str(tmp_path / "a.html")
    for arguments, message in (
        ([str(tmp_path), "--html", page], "not a saved clip"),
        ([str(folder), "--html", "a.pdf"], "must end in .html, got a.pdf"),
        ([str(folder), "--html", page, "--max-megabytes", "-1"], "must be positive, got -1"),
        ([str(folder), "--html", page, "--max-megabytes", "0.001"], "0.001 MB"),
    ):
        assert main(["export", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    with pytest.raises(SystemExit) as stopped:
        export.main(["--help"])
    assert stopped.value.code == 0 and "example: gendef export" in capsys.readouterr().out
