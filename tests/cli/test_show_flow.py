import json

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.cli import flow, show
from gendef.errors import ClipError, InputError


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    field = torch.linspace(0, 0.2, 3)[:, None, None, None].expand(3, 16, 16, 2)
    CanonicalVideo(torch.rand(3, 16, 16), field, 10, info={"source": "test"}).save(tmp_path / "clip")
    return tmp_path / "clip"


def test_show_writes_a_picture_and_facts(folder, tmp_path, capsys):
    assert show.main([str(folder), "--out", str(tmp_path / "a.png"), "--frames", "2", "--side", "32", "--json"]) == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 128
    facts = json.loads(capsys.readouterr().out)
    assert facts["frames"] == 3 and facts["size"] == [16, 16] and facts["made"] == {"source": "test"}
    assert facts["mean_offset_pixels"] == pytest.approx(0.1 * 2**0.5 * 8, abs=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.jpg"])
def test_show_in_other_formats(folder, tmp_path, capsys, name):
    assert show.main([str(folder), "--out", str(tmp_path / name), "--side", "32"]) == 0
    assert (tmp_path / name).stat().st_size > 500
    assert f"look at {tmp_path / name}" in capsys.readouterr().out


def test_flow_writes_files_and_statistics(folder, tmp_path, capsys):
    out = tmp_path / "flow"
    assert flow.main([str(folder), "--out", str(out), "--kind", "canonical", "--format", "npz", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pairs"] == 2 and report["known"] == 1
    assert report["mean_speed"] == pytest.approx(0.1 * 2**0.5 * 8, abs=1e-3)
    with np.load(out / "flow.npz") as archive:
        assert archive["flow"].shape == (2, 16, 16, 2)
    assert flow.main([str(folder), "--out", str(out)]) == 0
    assert "look at" in capsys.readouterr().out


@pytest.mark.parametrize("command", [show, flow])
def test_mistakes_have_names(command, folder, tmp_path, capsys):
    with pytest.raises(ClipError, match="not a saved clip"):
        command.main([str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    assert "example: gendef" in capsys.readouterr().out


def test_show_names_the_formats_it_writes(folder, tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png, .*got .*figure\.tiff"):
        show.main([str(folder), "--out", str(tmp_path / "figure.tiff")])
    with pytest.raises(InputError, match="at least 1 frame"):
        show.main([str(folder), "--out", str(tmp_path / "a.png"), "--frames", "0"])
    assert not (tmp_path / "a.png").exists()
