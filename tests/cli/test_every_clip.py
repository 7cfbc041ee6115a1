"""Every command that takes a clip takes a generated one, one of layers and one of segments."""

import json

import numpy as np
import pytest
from PIL import Image

from gendef import load_clip
from gendef.cli.main import main
from gendef.media.images import to_uint8


def run(capsys, *words):
    assert main([str(word) for word in (*words, "--json")]) == 0
    return json.loads(capsys.readouterr().out)


def test_export(any_clip, tmp_path, capsys):
    report = run(capsys, "export", any_clip, "--html", tmp_path / "clip.html")
    page = (tmp_path / "clip.html").read_text()
    assert report["bytes"] == len(page.encode()) and report["grey_levels"] < 1
    layers = load_clip(any_clip).layers
    assert page.count('src="data:image/png;base64,') == len(layers) and f'id="alpha{len(layers) - 1}"' in page


@pytest.mark.parametrize("motion", ["generated", "layered", "segmented"])
def test_motion_of_another_clip(any_clip, clip_folders, motion, tmp_path, capsys):
    report = run(capsys, "motions", any_clip, "--motion-of", clip_folders[motion], "--out", tmp_path / "m")
    moved, content, source = load_clip(report["clips"][0]["clip"]), load_clip(any_clip), load_clip(clip_folders[motion])
    assert moved.num_frames == source.num_frames and moved.fps == source.fps
    images = {image.numpy().tobytes() for _, image in content.canonical_images}
    assert {image.numpy().tobytes() for _, image in moved.canonical_images} <= images
    if any_clip == clip_folders[motion]:
        assert np.abs(moved.render().numpy() - content.render().numpy()).max() < 1e-5


def test_motions_of_seeds_say_what_to_do(clip_folders, tmp_path, capsys):
    for kind in ("layered", "segmented"):
        assert main(["motions", str(clip_folders[kind]), "--out", str(tmp_path / "m")]) == 2
        assert "--motion-of CLIP" in capsys.readouterr().err


def test_eval_temporal(any_clip, capsys):
    report, clip = run(capsys, "eval", "temporal", any_clip), load_clip(any_clip)
    assert report["folded_share"] == pytest.approx(folded(clip))


def folded(clip):
    """Share of pixels with det J <= 0 over all frames of all layers, by finite differences."""
    from gendef.geometry import folded_share

    frames = [float(folded_share(frame)) for layer in clip.layers for frame in layer.video.deformation]
    return float(np.mean(frames))


def test_eval_reconstruction(any_clip, tmp_path, capsys):
    clip = load_clip(any_clip)
    (tmp_path / "truth").mkdir()
    for number, frame in enumerate(to_uint8(clip.render())):
        Image.fromarray(frame // 2 + 60).save(tmp_path / "truth" / f"{number:03d}.png")
    report = run(capsys, "eval", "reconstruction", any_clip, tmp_path / "truth")
    shown = to_uint8(clip.render()).astype(float)
    error = ((shown - (shown // 2 + 60)) ** 2).mean(axis=(1, 2, 3))
    assert report["frames"] == clip.num_frames
    assert report["psnr"] == pytest.approx(float(np.mean(10 * np.log10(255**2 / error))), abs=0.05)


def test_show(any_clip, tmp_path, capsys):
    facts, clip = run(capsys, "show", any_clip, "--out", tmp_path / "figure.png", "--side", 32), load_clip(any_clip)
    assert facts["frames"] == clip.num_frames and tuple(facts["size"]) == clip.size
    run(capsys, "show", any_clip, "--out", tmp_path / "figure.gif", "--side", 32)
    with Image.open(tmp_path / "figure.gif") as moving:
        assert moving.n_frames == clip.num_frames


@pytest.mark.parametrize("kind", ["image", "canonical"])
def test_flow(any_clip, kind, tmp_path, capsys):
    report = run(capsys, "flow", any_clip, "--kind", kind, "--format", "npz", "--out", tmp_path / "flow")
    with np.load(tmp_path / "flow" / "flow.npz") as file:
        written = file["flow"]
    np.testing.assert_array_equal(written, load_clip(any_clip).flow(kind).numpy())
    assert report["pairs"] == len(written) and report["known"] > 0.5


def test_track(any_clip, tmp_path, capsys):
    report = run(capsys, "track", any_clip, "--points", "7,6", "9,11.5", "--frame", 2, "--out", tmp_path / "t")
    assert [track[2] for track in report["positions"]] == [[7, 6], [9, 11.5]]
    clip = load_clip(any_clip)
    assert np.shape(report["positions"]) == (2, clip.num_frames, 2)
    last = str(len(clip.layers) - 1)
    run(capsys, "track", any_clip, "--grid", 3, "--layer", last, "--out", tmp_path / "t")


def test_segment(any_clip, tmp_path, capsys):
    clip = load_clip(any_clip)
    mask = np.zeros(clip.size, bool)
    mask[4:9, 3:8] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    report = run(capsys, "segment", any_clip, "--mask", tmp_path / "mask.png", "--frame", 3, "--out", tmp_path / "s")
    assert report["areas"]["1"][3] == 25 and len(report["areas"]["1"]) == clip.num_frames
    names = sorted(path.name for path in (tmp_path / "s").glob("canonical_mask*.png"))
    several = [f"canonical_mask_layer{number:02d}.png" for number in range(len(clip.layers))]
    assert names == (several if len(several) > 1 else ["canonical_mask.png"])
    layer = str(len(clip.layers) - 1)
    run(capsys, "segment", any_clip, "--mask", tmp_path / "mask.png", "--layer", layer, "--out", tmp_path / "c")


def test_edit(any_clip, tmp_path, capsys):
    before = load_clip(any_clip)
    dot = np.zeros((*before.size, 4), np.uint8)
    dot[5:9, 5:9] = (255, 0, 0, 255)
    Image.fromarray(dot).save(tmp_path / "dot.png")
    words = ("--overlay-frame", 2, tmp_path / "dot.png", "--out", tmp_path / "e")
    report = run(capsys, "edit", any_clip, *words)
    after = load_clip(tmp_path / "e" / "clip")
    shown = to_uint8(after.render(frames=[2]))[0]
    assert np.abs(shown[6:8, 6:8].astype(int) - (255, 0, 0)).max() < 12 and 0 < report["changed_share"] < 0.5
    assert type(after) is type(before) and len(after.info["edits"]) == 1
    report = run(capsys, "edit", any_clip, "--filter", "grey", "--out", tmp_path / "g")
    assert report["changed_share"] > 0.5
