import json

import pytest
import torch
from PIL import Image
from tests.fitting.conftest import scenery, write_frames

import gendef
from gendef.cli import fit, main
from gendef.cli.fit_arguments import parse_seconds
from gendef.errors import InputError
from gendef.fitting import checkpoint, output
from gendef.fitting.checkpoint import StateFile


@pytest.fixture
def folder(tmp_path):
    picture = scenery(40, 60)
    return write_frames(tmp_path / "frames", torch.stack([picture[:, 4:36, 2 * t : 40 + 2 * t] for t in range(5)]))


def test_writes_a_clip_and_its_report(folder, tmp_path, capsys):
    out = tmp_path / "clip"
    assert fit.main([str(folder), "--out", str(out), "--quality", "fast", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["clips"][0]
    assert report["psnr"] > 30 and report["clip"] == str(out) and report["frames"] == [0, 4]
    clip = gendef.CanonicalVideo.load(out)
    assert clip.num_frames == 5 and clip.visibility.shape == (5, 32, 40) and clip.info["source"] == "frames"
    assert clip.report["psnr"] == report["psnr"]
    assert not list(out.glob(".*"))
    assert fit.main([str(folder), "--out", str(out), "--quality", "fast"]) == 0  # replaces the clip
    assert "PSNR" in capsys.readouterr().out


def test_continues_exactly_where_it_was_stopped(folder, tmp_path, monkeypatch):
    arguments = [str(folder), "--quality", "fast", "--out"]
    fit.main([*arguments, str(tmp_path / "whole")])

    class Impatient(StateFile):
        count = 0

        def offer(self, state):
            self.save(state())
            Impatient.count += 1
            if Impatient.count == 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "StateFile", Impatient)
    monkeypatch.setattr(output, "PREVIEW_EVERY", 0.0)
    stopped = tmp_path / "stopped"
    assert main.main(["fit", *arguments, str(stopped)]) == 130
    with Image.open(stopped / "canonical.png") as preview:
        assert preview.width > 10
    assert (stopped / checkpoint.STATE_NAME.format(0)).exists()
    fit.main([*arguments, str(stopped)])
    assert Impatient.count == 6  # of 6 sweeps, the first 4 were not made again
    one, two = (gendef.CanonicalVideo.load(tmp_path / name) for name in ("whole", "stopped"))
    assert torch.equal(one.deformation, two.deformation) and torch.equal(one.canonical, two.canonical)
    assert one.report["sweeps"] == two.report["sweeps"] == 6


def test_scenes_get_a_folder_each(tmp_path, capsys):
    picture = scenery(32, 40) * 0.4
    frames = torch.cat([(picture - 0.6).expand(6, 3, 32, 40), (picture.flip(1) + 0.6).expand(6, 3, 32, 40)])
    out = tmp_path / "clip"
    assert fit.main([str(write_frames(tmp_path / "cut", frames)), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "warning: 2 scenes, with cuts at frame 6" in text
    assert gendef.CanonicalVideo.load(out / "scene01").info["frames"] == [6, 11]


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("1.5m", 90), ("1h", 3600), ("7", 7)])
def test_budgets(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-3s", "soon", "5 days"])
def test_budgets_that_are_none(text):
    with pytest.raises(InputError, match="a budget must look like 60s, 5m or 1h"):
        parse_seconds(text)


def test_a_clip_in_changing_light_from_fit_to_page(tmp_path, capsys):
    picture = scenery(40, 60) * 0.5
    frames = torch.stack([(1 + 0.1 * t) * (picture[:, 4:36, 2 * t : 40 + 2 * t] + 1) - 1 for t in range(5)])
    folder, out = write_frames(tmp_path / "ramp", frames), tmp_path / "clip"
    assert fit.main([str(folder), "--out", str(out), "--quality", "fast", "--illumination"]) == 0
    assert " without the illumination)" in capsys.readouterr().out
    clip = gendef.CanonicalVideo.load(out)
    assert clip.report["psnr"] > clip.report["psnr_without_illumination"] + 5 and clip.info["illumination"]
    grey = tmp_path / "grey.png"
    Image.new("RGB", (64, 64), (100, 100, 100)).save(grey)
    assert main.main(["edit", str(out), "--canonical", str(grey), "--out", str(tmp_path / "edited")]) == 0
    edited = gendef.CanonicalVideo.load(tmp_path / "edited" / "clip").render().mean(dim=(1, 2, 3)) + 1
    torch.testing.assert_close(edited / edited[0], 1 + 0.1 * torch.arange(5.0), atol=0.02, rtol=0)
    assert main.main(["export", str(out), "--html", str(tmp_path / "clip.html")]) == 0
    assert main.main(["show", str(out), "--out", str(tmp_path / "figure.png")]) == 0
    capsys.readouterr()
    assert main.main(["fit", str(folder), "--model", "sky", "--illumination", "--out", str(tmp_path / "other")]) == 2
    assert "--model goes without --illumination" in capsys.readouterr().err


def test_mistakes_end_with_status_two(tmp_path, capsys, folder):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "file").write_text("x")
    for arguments in (["none.mp4"], [str(tmp_path / "bad.mp4")], [str(folder), "--out", str(tmp_path / "file")]):
        assert main.main(["fit", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("gendef fit: ") and error.count("\n") == 1
    with pytest.raises(SystemExit):
        fit.main(["--help"])
    assert "example: gendef fit" in capsys.readouterr().out


def test_a_damaged_state_is_reported_and_kept(folder, tmp_path, capsys, caplog):
    arguments = [str(folder), "--quality", "fast", "--json", "--out"]
    assert fit.main([*arguments, str(tmp_path / "whole")]) == 0
    out = tmp_path / "clip"
    out.mkdir()
    state = out / checkpoint.STATE_NAME.format(0)
    state.write_bytes(b"no tensors")
    capsys.readouterr()
    assert fit.main([*arguments, str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    kept = out / ".fit-state-layer00.damaged.safetensors"
    assert list(out.glob(".*")) == [kept] and kept.read_bytes() == b"no tensors"
    for warnings in (report["warnings"], report["clips"][0]["warnings"], gendef.load_clip(out).report["warnings"]):
        assert len(warnings) == 1 and kept.name in warnings[0]
    assert [record.levelname for record in caplog.records] == ["WARNING"] and kept.name in caplog.text
    one, two = (gendef.load_clip(path) for path in (tmp_path / "whole", out))
    assert torch.equal(one.deformation, two.deformation)


def test_the_state_of_an_earlier_version_is_reported(folder, tmp_path, capsys, caplog):
    out = tmp_path / "clip"
    out.mkdir()
    (out / checkpoint.FORMER_STATE_NAME).write_bytes(b"an older state")
    assert fit.main([str(folder), "--quality", "fast", "--json", "--out", str(out)]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert checkpoint.FORMER_STATE_NAME in warning and warning in caplog.text
    assert gendef.load_clip(out).report["warnings"] == [warning]


def test_a_folder_with_other_things_is_refused_before_the_fit(folder, tmp_path, capsys):
    out = tmp_path / "clip"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert main.main(["fit", str(folder), "--out", str(out)]) == 2
    assert "notes.txt" in capsys.readouterr().err and [path.name for path in out.iterdir()] == ["notes.txt"]
