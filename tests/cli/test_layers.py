"""The commands that work on clips, on a clip of layers."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.video.test_layered_tracks import scene, segments

from gendef.cli.main import main
from gendef.video.layered_video import load_clip


@pytest.fixture
def clip(tmp_path):
    scene().save(tmp_path / "clip")
    return tmp_path / "clip"


def run(capsys, *words):
    assert main([str(word) for word in (*words, "--json")]) == 0
    return json.loads(capsys.readouterr().out)


def test_track(clip, tmp_path, capsys):
    report = run(capsys, "track", clip, "--points", "4,8", "20,1", "--frame", 0, "--out", tmp_path / "t")
    assert report["layer"] == [1, 0]
    assert report["positions"][0][5][0] == pytest.approx(14, abs=1e-3)
    with np.load(tmp_path / "t" / "tracks.npz") as tracks:
        assert tracks["layer"].tolist() == [1, 0]
    assert (tmp_path / "t" / "tracks.png").exists()
    report = run(capsys, "track", clip, "--grid", 3, "--layer", 1, "--out", tmp_path / "t")
    assert set(report["layer"]) == {1}


def test_segment(clip, tmp_path, capsys):
    Image.fromarray(scene().owners(0).bool().numpy()).save(tmp_path / "mask.png")
    run(capsys, "segment", clip, "--mask", tmp_path / "mask.png", "--frame", 0, "--out", tmp_path / "s")
    carried = np.asarray(Image.open(tmp_path / "s" / "masks" / "00005.png"))
    assert np.array_equal(carried > 0, scene().owners(5).bool().numpy())
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert {"canonical_mask_layer00.png", "canonical_mask_layer01.png"} <= names
    run(capsys, "segment", clip, "--box", "3,3,9,9", "--method", "walk", "--layer", 1, "--out", tmp_path / "b")


def test_show_and_flow(clip, tmp_path, capsys):
    facts = run(capsys, "show", clip, "--out", tmp_path / "figure.png")
    assert [layer["name"] for layer in facts["layers"]] == ["background", "square"]
    run(capsys, "show", clip, "--out", tmp_path / "figure.gif", "--side", 32)
    assert run(capsys, "flow", clip, "--out", tmp_path / "flow")["pairs"] == 5


def test_edit_of_one_layer(clip, tmp_path, capsys):
    run(capsys, "edit", clip, "--filter", "grey", "--layer", 1, "--out", tmp_path / "e")
    after, before = load_clip(tmp_path / "e" / "clip"), scene()
    assert after.info["edits"] == ["layer 1: filter grey"]
    grey = after.layers[1].video.canonical
    assert float((grey[0] - grey[1]).abs().max()) < 1e-4
    assert (after.layers[0].video.canonical == before.layers[0].video.canonical).all()


def test_edits_of_all_segments(tmp_path, capsys):
    segments()[0].save(tmp_path / "clip")
    picture = np.zeros((16, 24, 4), np.uint8)
    picture[3:6, 14:18] = (255, 0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "red.png")
    words = ("--filter", "grey", "--overlay-frame", 0, tmp_path / "red.png", "--out", tmp_path / "e")
    run(capsys, "edit", tmp_path / "clip", *words)
    edited = load_clip(tmp_path / "e" / "clip")
    assert edited.info["edits"] == ["layer 0: filter grey", "layer 1: filter grey", "overlay red.png on frame 0"]
    last = edited.render(frames=[11])[0]
    assert float(last[0, 3:6, 3:7].min()) > 0.99
    assert float((last[0] - last[1])[:3].abs().max()) < 1e-4, "the rest is grey in the second segment too"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("track", "CLIP", "--points", "3,3", "--layer", "2"), "layer must be between 0 and 1, got 2"),
        (("track", "CLIP", "--points", "3,3", "--layer", "1", "--frame", "0"), "leave --layer out"),
        (("edit", "CLIP"), "no edit was asked for"),
        (("edit", "CLIP", "--overlay-frame", "0", "x.png", "--mask", "m.png"), "name it with --layer"),
        (("motions", "CLIP"), "--motion-of CLIP"),
    ],
)
def test_mistakes(clip, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert main([str(clip) if word == "CLIP" else word for word in words]) == 2
    assert message in capsys.readouterr().err


def test_the_only_layer_of_a_clip_of_one_image_is_0(tmp_path, capsys):
    scene().layers[0].video.save(tmp_path / "plain")
    words = ["track", str(tmp_path / "plain"), "--points", "3,3", "--out", str(tmp_path / "tracks"), "--layer"]
    assert main([*words, "0"]) == 0 and main([*words, "1"]) == 2
    assert "got 1" in capsys.readouterr().err
