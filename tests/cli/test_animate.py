import json

import av
import numpy as np
import pytest
from PIL import Image
from tests.animation.tiny_prior import tiny_prior

from gendef.cli.main import main
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import LayeredVideo, load_clip


@pytest.fixture
def folder(tmp_path):
    """A photograph, a mask of its sky and a prior."""
    tiny_prior().save(tmp_path / "prior")
    picture = np.random.default_rng(0).integers(0, 60, (40, 64, 1)).repeat(3, axis=2).astype(np.uint8)
    picture[:20] += 150
    Image.fromarray(picture).save(tmp_path / "photo.png")
    mask = np.zeros((40, 64), np.uint8)
    mask[:20] = 255
    Image.fromarray(mask).save(tmp_path / "sky.png")
    return tmp_path


def run(folder, *options, photo="photo.png"):
    return main(
        ["animate", str(folder / photo), "--model", str(folder / "prior"), "--out", str(folder / "clip"), *options]
    )


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_clip_and_a_video_of_the_photographs_size(folder, capsys):
    assert run(folder, "--frames", "6", "--json") == 0
    written = json.loads(capsys.readouterr().out)
    assert written["size"] == [40, 64]
    clip = load_clip(folder / "clip")
    assert isinstance(clip, CanonicalVideo)
    assert clip.num_frames == 6
    frames = frames_of(folder / "clip.mp4")
    assert len(frames) == 6
    assert frames[0].shape == (40, 64, 3)
    assert np.abs(frames[0].astype(int) - np.asarray(Image.open(folder / "photo.png"))).mean() < 8


def test_mask_loop_gif_and_the_rest(folder):
    options = ["--mask", str(folder / "sky.png"), "--loop", "--gif", "--frames", "8", "--direction", "left"]
    assert run(folder, *options, "--strength", "0.5", "--speed", "2", "--fps", "12", "--arrow", "10,5:14,5") == 0
    clip = load_clip(folder / "clip")
    assert isinstance(clip, LayeredVideo)
    assert [layer.name for layer in clip.layers] == ["moving", "moving, second pass", "still"]
    assert clip.fps == 12
    assert Image.open(folder / "clip.gif").n_frames == 8


def test_what_was_clicked_is_a_layer_before_the_rest(folder):
    picture = np.full((60, 80, 3), 40, np.uint8)
    picture[20:40, 30:50] = (200, 60, 50)
    Image.fromarray(picture).save(folder / "thing.png")
    assert run(folder, "--click", "40,30", "--frames", "4", "--arrow", "40,30:48,30", photo="thing.png") == 0
    clip = load_clip(folder / "clip")
    assert [layer.name for layer in clip.layers] == ["still", "moving"]
    last = clip.render(frames=[3])[0]
    assert last[0, 30, 34] < -0.5  # where it was
    assert last[0, 30, 54] > 0.4  # where it has come to


def test_a_page_of_the_clip(folder):
    assert run(folder, "--frames", "4") == 0
    assert main(["export", str(folder / "clip"), "--html", str(folder / "clip.html")]) == 0
    assert (folder / "clip.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    "options",
    [
        ["--frames", "0"],
        ["--arrow", "1,2,3,4"],
        ["--arrow", "1,2:300,4"],
        ["--mask", "{folder}/none.png"],
        ["--mask", "{folder}/colours.png"],
        ["--still", "{folder}/empty.png"],
        ["--click", "500,5"],
        ["--mask", "{folder}/sky.png", "--click", "5,5"],
        ["--model", "nothing"],
        ["--direction", "there"],
        ["--strength", "-2"],
        ["--size", "2"],
        ["--label", "lava"],
    ],
)
def test_mistakes_end_with_a_sentence_and_nothing_written(folder, capsys, options):
    Image.fromarray(np.zeros((40, 64), np.uint8)).save(folder / "empty.png")
    Image.fromarray(np.arange(40 * 64 * 3).reshape(40, 64, 3).astype(np.uint8)).save(folder / "colours.png")
    assert run(folder, "--frames", "3", *(option.format(folder=folder) for option in options)) == 2
    assert capsys.readouterr().err.startswith("gendef animate: ")
    assert not (folder / "clip").exists()
    assert not (folder / "clip.mp4").exists()


def test_a_folder_of_something_else_is_not_replaced(folder, capsys):
    (folder / "clip").mkdir()
    (folder / "clip" / "notes.txt").write_text("mine")
    assert run(folder, "--frames", "3") == 2
    assert (folder / "clip" / "notes.txt").read_text() == "mine"


def test_a_file_that_is_no_photograph(folder):
    (folder / "photo.txt").write_text("no")
    assert run(folder, photo="photo.txt") == 2
    assert run(folder, photo="missing.png") == 2


def test_other_motions_of_the_clip(folder):
    assert run(folder, "--frames", "4", "--mask", str(folder / "sky.png")) == 0
    assert main(["motions", str(folder / "clip"), "--seeds", "1-2", "--out", str(folder / "motions")]) == 0
    first, second = (load_clip(folder / "motions" / f"motion{seed:04d}") for seed in (1, 2))
    assert first.num_frames == second.num_frames == 4
    assert (first.render(frames=[0]) - second.render(frames=[0])).abs().max() < 0.01
    assert (folder / "motions" / "sheet.png").exists()
