import json

import torch

from gendef import CanonicalVideo, GenDeF
from gendef.cli import motions
from gendef.cli.main import main


def test_motions_of_a_model(model_folder, tmp_path, capsys):
    GenDeF.from_pretrained(model_folder).sample(seed=1, num_frames=3).save(tmp_path / "clip")
    out = tmp_path / "motions"
    assert motions.main([str(tmp_path / "clip"), "--seeds", "2-3", "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [item["clip"] for item in report["clips"]] == [str(out / "motion0002"), str(out / "motion0003")]
    names = {path.name for path in out.iterdir()}
    assert names == {"motion0002", "motion0003", "motion0002.mp4", "motion0003.mp4", "motions.mp4", "sheet.png"}
    first, second = (CanonicalVideo.load(out / name) for name in ("motion0002", "motion0003"))
    assert torch.equal(first.canonical, second.canonical)
    assert not torch.equal(first.deformation, second.deformation)


def test_motion_of_another_clip(tmp_path, capsys):
    CanonicalVideo(torch.rand(3, 16, 16), torch.zeros(2, 16, 16, 2)).save(tmp_path / "a")
    CanonicalVideo(torch.rand(3, 8, 8), torch.full((3, 8, 8, 2), 0.5)).save(tmp_path / "b")
    assert motions.main([str(tmp_path / "a"), "--motion-of", str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 0
    both = CanonicalVideo.load(tmp_path / "c" / "motion_of_b")
    assert both.num_frames == 3 and torch.allclose(both.deformation, torch.full((3, 8, 8, 2), 0.5))
    assert "look at" in capsys.readouterr().out


def test_mistakes(tmp_path, capsys):
    CanonicalVideo(torch.rand(3, 16, 16), torch.zeros(2, 16, 16, 2)).save(tmp_path / "a")
    clip = str(tmp_path / "a")
    for arguments, words in (
        ([], "--motion-of CLIP"),
        (["--seeds", "x"], "seeds must look like"),
        (["--model", "nobody"], "there is no model 'nobody'"),
        (["--model", "sky"], "not made by this model"),
        (["--model", "sky", "--motion-of", clip], "give one of them"),
    ):
        assert main(["motions", clip, *arguments, "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
