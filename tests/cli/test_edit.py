import json

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.cli import edit
from gendef.cli.main import main


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    field = torch.linspace(0, 0.25, 3)[:, None, None, None] * torch.tensor([1.0, 0.0])
    clip = CanonicalVideo(torch.rand(3, 16, 16) * 2 - 1, field.expand(3, 16, 16, 2), 10, info={"source": "test"})
    clip.save(tmp_path / "clip")
    return tmp_path / "clip"


def red_square(path, size=(16, 16)):
    picture = np.zeros((*size, 4), np.uint8)
    picture[4:8, 6:10] = (255, 0, 0, 255)
    Image.fromarray(picture).save(path)
    return str(path)


def test_a_drawing_on_a_frame_end_to_end(folder, tmp_path, capsys):
    out = tmp_path / "edited"
    arguments = [str(folder), "--overlay-frame", "2", red_square(tmp_path / "red.png"), "--out", str(out), "--json"]
    assert edit.main([*arguments, "--size", "64", "--gif"]) == 0
    report = json.loads(capsys.readouterr().out)
    before, after = CanonicalVideo.load(folder), CanonicalVideo.load(out / "clip")
    assert torch.allclose(after.canonical[:, 4:8, 8:12], torch.tensor([1.0, -1, -1])[:, None, None].expand(3, 4, 4))
    changed = (after.render() != before.render()).any(dim=1).float().mean()
    assert report["changed_share"] == pytest.approx(float(changed), abs=0.01) and 0.05 < report["changed_share"] < 0.15
    assert report["edits"] == ["overlay red.png on frame 2"]
    assert after.info["source"] == "test" and after.info["edits"] == report["edits"]
    names = {path.name for path in out.iterdir()}
    assert names == {"clip", "edited.mp4", "edited.gif", "before_after.mp4", "sheet.png"}


def test_edits_are_made_one_after_the_other(folder, tmp_path, capsys):
    painted = tmp_path / "painted.png"
    Image.fromarray(np.full((32, 32, 3), (200, 100, 0), np.uint8)).save(painted)
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 16:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = ["--canonical", str(painted), "--filter", "grey", "--mask", str(tmp_path / "mask.png")]
    assert edit.main([str(folder), *arguments, "--out", str(tmp_path / "out")]) == 0
    canonical = CanonicalVideo.load(tmp_path / "out" / "clip").canonical
    luma = 0.299 * 200 + 0.587 * 100
    assert canonical.shape == (3, 32, 32)
    assert torch.allclose((canonical[:, :, 17:] + 1) * 127.5, torch.full((3, 32, 15), luma), atol=0.51)
    assert "look at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no edit was asked for"),
        (["--filter", "sharpen"], "unknown filter 'sharpen'"),
        (["--canonical", "none.png"], "none.png does not exist"),
        (["--overlay-frame", "9", "RED"], "between 0 and 2, got 9"),
        (["--filter", "grey", "--size", "0"], "at least 1 pixel, got 0"),
        (["--style", "none.pth"], "there is no style file"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(folder, tmp_path, capsys, arguments, words):
    arguments = [red_square(tmp_path / "red.png") if item == "RED" else item for item in arguments]
    assert main(["edit", str(folder), *arguments, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()
