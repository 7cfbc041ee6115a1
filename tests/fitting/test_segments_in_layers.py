"""Long clips in layers: things keep their names, looks, points and masks from one segment to the next."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tests.fitting.conftest import scenery, write_frames

from gendef.cli import fit, main
from gendef.errors import InputError
from gendef.fitting import FitOptions, checkpoint, fit_scenes, layered_fit, segments
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.motion_segmentation import NoMovingObjects
from gendef.fitting.segments import fit_segments
from gendef.media.footage import read_footage
from gendef.video.layered_video import load_clip

SHORT = FitOptions(quality="fast", segment=16)
AUTO = FitOptions(quality="fast", segment=16, layers="auto")

COUNT, HEIGHT, WIDTH = 20, 36, 64
SECOND, SWITCH, FIRST = 6, 10, 14
"""The second segment begins; it is the one that shows from here on; the first ends."""


def square(label, t):
    """Rows and columns of a thing in a frame: the first moves to the right, the second to the left."""
    left = 4 + 2 * t if label == 1 else 52 - 2 * t
    return (slice(6, 20), slice(left, left + 14)) if label == 1 else (slice(23, 33), slice(left, left + 10))


def crossing(shown, count=COUNT):
    """Frames in which squares cross a picture that pans by 1 pixel a frame, and labels.

    Args:
        shown: label -> frames that show it.
    """
    back, labels = scenery(HEIGHT, WIDTH + count), torch.zeros(count, HEIGHT, WIDTH, dtype=torch.uint8)
    frames = torch.stack([back[:, :, t : t + WIDTH] for t in range(count)])
    for label, times in shown.items():
        rows, columns = square(label, 0)
        face = scenery(HEIGHT, WIDTH, seed=4 + label)[:, rows, columns].flip(0)
        for t in times:
            rows, columns = square(label, t)
            frames[t, :, rows, columns] = face
            labels[t, rows, columns] = label
    return frames, labels


def fitted(folder, shown, reports=None):
    """The clip of a folder to be written, in two segments, and its labels."""
    frames, labels = crossing(shown)
    footage = read_footage(write_frames(folder, frames), 270)
    on_progress = (lambda progress: None) if reports is None else reports.append
    clip = fit_segments(footage.scenes[0], footage, SHORT, "x", labels, on_progress=on_progress)
    return clip, labels


def write_masks(folder, labels):
    folder.mkdir()
    for t, label in enumerate(labels.numpy()):
        Image.fromarray(label).save(folder / f"{t:05d}.png")
    return folder


def extents(clip):
    return [(layer.name, layer.start, layer.end) for layer in clip.layers]


def painted(clip, colours):
    """The clip with a plain colour on every layer, in [-1, 1]."""
    for number, colour in enumerate(colours):
        clip = clip.with_canonical(torch.full_like(clip.layers[number].video.canonical, colour), layer=number)
    return clip


@pytest.fixture(scope="module")
def throughout(tmp_path_factory):
    """A clip with one thing in all frames and another from frame 16 on, its labels, and what a watcher was told."""
    reports = []
    clip, labels = fitted(tmp_path_factory.mktemp("long") / "frames", {1: range(COUNT), 2: range(16, COUNT)}, reports)
    return clip, labels, reports


@pytest.fixture(scope="module")
def within(tmp_path_factory):
    """A clip and its labels: one thing ends, and another begins, in the frames that the segments have in common."""
    return fitted(tmp_path_factory.mktemp("within") / "frames", {1: range(9), 2: range(11, COUNT)})


def test_every_segment_has_its_layers(throughout):
    clip, labels, reports = throughout
    assert extents(clip) == [
        ("background", 0, FIRST),
        ("object 1", 0, FIRST),
        ("background", SECOND, COUNT),
        ("object 1", SECOND, COUNT),
        ("object 2", 16, COUNT),
    ]
    report = clip.report
    assert report["psnr"] > 33 and report["psnr_min"] > 28 and report["explained"] > 0.95
    assert clip.visibility.float().mean() == pytest.approx(report["explained"])
    assert [part["frames"] for part in report["segments"]] == [[0, FIRST - 1], [SECOND, COUNT - 1]]
    names = [[layer["name"] for layer in part["layers"]] for part in report["segments"]]
    assert names == [["background", "object 1"], ["background", "object 1", "object 2"]]
    assert 16 <= report["segments"][1]["layers"][2]["reference_frame"] < COUNT  # a frame of the source
    assert report["sweeps"] == 30 and report["warnings"] == []
    done = [progress.done for progress in reports]
    assert done == sorted(done) and done[-1] == 1
    assert any(progress.stage.startswith("segment 2 of 2, object 2") for progress in reports)
    for t in range(COUNT):
        owner = clip.owners(t)
        assert set(owner.unique().tolist()) <= ({0, 1} if t < SWITCH else {2, 3, 4})
        assert torch.equal(torch.tensor([0, 1, 0, 1, 2])[owner], labels[t].long())


def test_segments_fade_without_ghosts(throughout):
    clip, labels, _ = throughout
    # Things in white before backgrounds in black: whatever shines through would be grey.
    flat = painted(clip, [-1, 1, -1, 1, 1]).render()
    torch.testing.assert_close(flat, (2.0 * (labels > 0) - 1)[:, None].expand_as(flat), atol=0.02, rtol=0)
    # The first segment in black, the second in white: each frame has one grey, and they grow evenly.
    fading = painted(clip, [-1, -1, 1, 1, 1]).render()
    assert float(fading.flatten(1).std(dim=1).max()) < 0.01
    steps = ((torch.arange(COUNT) - SECOND + 1) / 9).clamp(0, 1)
    torch.testing.assert_close(fading.mean(dim=(1, 2, 3)), 2 * steps - 1, atol=0.01, rtol=0)


def test_points_cross_the_border(throughout):
    clip, _, _ = throughout
    times = torch.arange(COUNT).float()
    for frame in (1, 8, 12, 18):
        points = [(4 + 2 * frame + 4, 11), (4 + 2 * frame + 10, 16), (44 - frame, 3)]
        tracks = clip.track(points, frame=frame)
        expected = torch.stack((8 + 2 * times, 14 + 2 * times, 44 - times))
        torch.testing.assert_close(tracks.positions[..., 0], expected, atol=0.7, rtol=0)
        torch.testing.assert_close(tracks.positions[..., 1].mean(dim=1), torch.tensor([11.0, 16, 3]), atol=0.5, rtol=0)
        assert tracks.visible[:2].float().mean() > 0.95 and tracks.visible[2].float().mean() > 0.9


def test_masks_cross_the_border(throughout):
    clip, labels, _ = throughout
    thing = labels == 1
    for frame in (2, 9, 17):
        carried = clip.segment(thing[frame], frame=frame)
        assert torch.equal(carried, thing), frame
        upper = thing.clone()
        upper[:, 13:] = False  # a part of it is carried as such
        carried = clip.segment(upper[frame], frame=frame)
        shares = (carried & upper).sum(dim=(1, 2)) / (carried | upper).sum(dim=(1, 2))
        assert float(shares.min()) > 0.8, frame
    assert torch.equal(clip.segment(labels[17] == 2, frame=17), labels == 2)


def test_things_that_begin_or_end_where_segments_overlap(within):
    clip, labels = within
    assert extents(clip) == [
        ("background", 0, FIRST),
        ("object 1", 0, 9),
        ("object 2", 11, FIRST),
        ("background", SECOND, COUNT),
        ("object 1", SECOND, 9),
        ("object 2", 11, COUNT),
    ]
    assert clip.report["psnr"] > 33 and clip.report["psnr_min"] > 27
    flat = painted(clip, [-1, 1, 1, -1, 1, 1]).render()
    torch.testing.assert_close(flat, (2.0 * (labels > 0) - 1)[:, None].expand_as(flat), atol=0.02, rtol=0)
    for label, frame in ((1, 2), (1, 7), (2, 11), (2, 18)):
        assert torch.equal(clip.segment(labels[frame] == label, frame=frame), labels == label)
    times = torch.arange(COUNT)
    ending = clip.layers[2].video.track([(33, 28)], frame=1).canonical  # on the image of the part that ends
    for points, how in (([(35, 28)], {"frame": 11}), ([(21, 28)], {"frame": 18}), (ending, {"layer": 2})):
        tracks = clip.track(points, **how)
        torch.testing.assert_close(tracks.positions[0, 11:, 0], 57.0 - 2 * times[11:], atol=0.8, rtol=0)
        assert tracks.visible[0, 11:].float().mean() > 0.85 and not tracks.visible[0, :11].any()


def test_segments_may_lack_labels(tmp_path):
    frames, labels = crossing({1: range(5), 2: range(16, COUNT)})
    folder, masks = write_frames(tmp_path / "frames", frames), write_masks(tmp_path / "masks", labels)
    (clip,) = fit_scenes(folder, FitOptions(quality="fast", segment=16, masks=masks))
    second = ("background", SECOND, COUNT), ("object 2", 16, COUNT)
    assert extents(clip) == [("background", 0, FIRST), ("object 1", 0, 5), *second]
    assert torch.equal(clip.segment(labels[3], frame=3), torch.where(labels == 1, 1, 0).to(torch.uint8))
    assert clip.report["psnr"] > 33


def test_each_segment_finds_what_moves(tmp_path, monkeypatch):
    frames, labels = crossing({1: range(5)})
    asked = []

    def finding(pictures, flows, seed):
        asked.append(len(pictures))
        if len(asked) == 2:
            raise NoMovingObjects("nothing moves")
        return labels[:FIRST]

    monkeypatch.setattr(layered_fit, "segment_moving_objects", finding)
    (clip,) = fit_scenes(write_frames(tmp_path / "frames", frames), AUTO)
    assert asked == [FIRST, COUNT - SECOND]
    assert extents(clip) == [("background", 0, FIRST), ("object 1", 0, 5), ("background", SECOND, COUNT)]
    assert clip.report["warnings"] == [
        "no object in front of the background in frames 6 to 19: one canonical image there"
    ]
    assert clip.report["psnr"] > 33


@pytest.mark.parametrize(("second", "name"), [(1, "object 1"), (2, "object 2")])
def test_what_moves_keeps_its_name_only_if_it_is_the_same_thing(tmp_path, monkeypatch, second, name):
    frames, labels = crossing({1: range(COUNT), 2: range(COUNT)})
    found = [labels[:FIRST] == 1, labels[SECOND:] == second]
    monkeypatch.setattr(
        layered_fit, "segment_moving_objects", lambda pictures, flows, seed: found.pop(0).to(torch.uint8)
    )
    (clip,) = fit_scenes(write_frames(tmp_path / "frames", frames), AUTO)
    assert [layer.name for layer in clip.layers] == ["background", "object 1", "background", name]
    assert [entry["name"] for entry in clip.report["segments"][1]["layers"]] == ["background", name]
    carried = clip.segment(labels[2] == 1, frame=2)
    assert bool(carried[COUNT - 1].any()) == (second == 1)


def test_more_layers_than_a_clip_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MAX_LAYERS", 3)
    frames, labels = crossing({1: range(COUNT)})
    footage = read_footage(write_frames(tmp_path / "frames", frames), 270)
    with pytest.raises(InputError, match="2 segments of 2 layers are more than the 3 layers of a clip"):
        fit_segments(footage.scenes[0], footage, SHORT, "x", labels)
    with pytest.raises(InputError, match="2 segments of 2 layers"):
        fit_segments(footage.scenes[0], footage, AUTO, "x")
    assert len(fit_segments(footage.scenes[0], footage, SHORT, "x").layers) == 2


def test_time_that_was_spent_before_a_stop_counts(tmp_path):
    frames, labels = crossing({1: range(COUNT)})
    footage = read_footage(write_frames(tmp_path / "frames", frames), 270)

    def states(number):
        return StateFile(tmp_path / f"{number}.safetensors", {"part": number})

    def report():
        options = replace(SHORT, budget=2.0)
        return fit_segments(footage.scenes[0], footage, options, "x", labels, states=states).report

    assert report()["seconds"] < 500
    for number in range(4):
        states(number).save(replace(states(number).load(), seconds=500.0 + number))
    # Layers 0 and 1 are of the first segment, 2 and 3 of the second; a state holds the time since its segment began.
    assert 501 + 503 < report()["seconds"] < 1500


def test_the_command_splits_layers_and_continues(tmp_path, monkeypatch, capsys):
    frames, labels = crossing({1: range(18)}, 18)
    folder, masks = write_frames(tmp_path / "frames", frames), write_masks(tmp_path / "masks", labels)
    words = [
        str(folder),
        "--quality",
        "fast",
        "--segment",
        "16",
        "--illumination",
        "--masks",
        str(masks),
        "--json",
        "--out",
    ]
    assert fit.main([*words, str(tmp_path / "whole")]) == 0
    report = json.loads(capsys.readouterr().out)["clips"][0]
    assert [part["frames"] for part in report["segments"]] == [[0, 12], [5, 17]]
    assert "psnr_without_illumination" in report and len(report["segments"][1]["layers"]) == 2

    class Impatient(StateFile):
        count = 0

        def offer(self, state):
            self.save(state())
            Impatient.count += 1
            if Impatient.count == 21:  # in the middle of the second segment's object 1
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "StateFile", Impatient)
    stopped = tmp_path / "stopped"
    assert main.main(["fit", *words, str(stopped)]) == 130
    assert sorted(path.name for path in stopped.glob(".*")) == [
        f".fit-state-layer0{number}.safetensors" for number in range(4)
    ]
    assert fit.main([*words, str(stopped)]) == 0
    assert Impatient.count == 24  # of 6 sweeps a layer, none was made twice
    one, two = (load_clip(tmp_path / name) for name in ("whole", "stopped"))
    assert all(layer.video.illumination is not None for layer in one.layers)
    assert torch.equal(one.render(), two.render()) and torch.equal(one.visibility, two.visibility)
    assert not list(stopped.glob(".*"))
    capsys.readouterr()
    assert main.main(["fit", *words, str(tmp_path / "x"), "--segment", "15"]) == 2
    assert "a segment must have at least 16 frames, got 15" in capsys.readouterr().err


def test_masks_of_another_number_or_size_are_refused(tmp_path):
    frames, labels = crossing({1: range(COUNT)})
    footage = read_footage(write_frames(tmp_path / "frames", frames), 270)
    for wrong in (labels[1:], labels[:, 1:]):
        with pytest.raises(InputError, match=r"masks must be \(20, 36, 64\) like the frames, got"):
            fit_segments(footage.scenes[0], footage, SHORT, "x", wrong)
