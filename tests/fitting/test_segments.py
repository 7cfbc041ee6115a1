"""Long clips: segments that overlap, fade, and hand on points and edits."""

import itertools
import json

import numpy as np
import pytest
import torch
from tests.fitting.conftest import scenery, write_frames

from gendef.cli import fit, main
from gendef.editing.layers import draw_on_frame
from gendef.errors import InputError
from gendef.fitting import FitOptions, checkpoint, fit_scenes, fit_video
from gendef.fitting.checkpoint import StateFile
from gendef.fitting.segments import OVERLAP, split
from gendef.video.layered_video import load_clip

COUNT = 20


@pytest.fixture
def journey(tmp_path):
    """A folder of 20 frames of 28x24 that pan over a long picture, and the frames."""
    world = scenery(24, 80)
    frames = torch.stack([world[:, :, 2 * t : 2 * t + 28] for t in range(COUNT)])
    return write_frames(tmp_path / "frames", frames), frames


@pytest.mark.parametrize(("count", "longest"), [(16, 16), (17, 16), (20, 16), (500, 120), (121, 120), (1000, 33)])
def test_segments_cover_all_frames_and_overlap(count, longest):
    parts = split(count, longest)
    assert parts[0].start == 0 and parts[-1].stop == count
    assert all(OVERLAP < len(part) <= longest for part in parts)
    for one, two in itertools.pairwise(parts):
        assert one.stop - two.start == OVERLAP
    assert len(parts) == 1 or max(map(len, parts)) - min(map(len, parts)) <= 1


def test_too_short_segments_are_refused():
    with pytest.raises(InputError, match="at least 16 frames, got 15"):
        split(100, 15)


def test_a_long_clip_is_one_clip(journey):
    folder, frames = journey
    reports = []
    (clip,) = fit_scenes(folder, FitOptions(quality="fast", segment=16), on_progress=reports.append)
    assert [(layer.start, layer.end) for layer in clip.layers] == [(0, 14), (6, 20)]
    assert clip.report["psnr"] > 26 and clip.report["psnr_min"] > 20 and len(clip.report["segments"]) == 2
    assert float((clip.render() - frames).abs().mean()) < 0.08
    done = [progress.done for progress in reports]
    assert done == sorted(done) and done[-1] == 1
    tracks = clip.track([(24, 12)], frame=0)
    seen = torch.arange(COUNT) < 12
    torch.testing.assert_close(tracks.positions[0, seen, 0], 24 - 2 * torch.arange(12.0), atol=0.8, rtol=0)
    assert tracks.visible[0, :11].all() and not tracks.visible[0, 13:].any()
    drawing = np.zeros((24, 28, 4), np.uint8)
    drawing[8:16, 18:26] = (255, 0, 0, 255)
    after = draw_on_frame(clip, drawing, 2).render()
    for t in (2, 6, 9):  # first in one segment, then in both, then mostly in the second
        place = after[t, :, 10:14, 20 - 2 * (t - 2) : 24 - 2 * (t - 2)]
        assert float(place[0].min()) > 0.9 and float(place[1].max()) < -0.9, t
    (whole,) = fit_scenes(folder, FitOptions(frames=4, quality="fast", segment=16))
    assert whole.canonical.ndim == 3, "a short clip has one canonical image"


def test_the_command_splits_and_continues(journey, tmp_path, monkeypatch, capsys):
    folder, _ = journey
    words = [str(folder), "--quality", "fast", "--segment", "16", "--json", "--out"]
    assert fit.main([*words, str(tmp_path / "whole")]) == 0
    report = json.loads(capsys.readouterr().out)["clips"][0]
    assert report["frames"] == [0, 19] and [part["frames"] for part in report["segments"]] == [[0, 13], [6, 19]]

    class Impatient(StateFile):
        count = 0

        def offer(self, state):
            self.save(state())
            Impatient.count += 1
            if Impatient.count == 8:
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "StateFile", Impatient)
    assert main.main(["fit", *words, str(tmp_path / "stopped")]) == 130
    assert fit.main([*words, str(tmp_path / "stopped")]) == 0
    assert Impatient.count == 12  # of 6 sweeps a segment, none was made twice
    one, two = (load_clip(tmp_path / name) for name in ("whole", "stopped"))
    assert torch.equal(one.render(), two.render())
    by_function = fit_video(folder, quality="fast", segment=16)  # one way to a fit: the same clip
    assert len(by_function.layers) == 2
    for mine, theirs in zip(by_function.layers, one.layers, strict=True):
        assert torch.equal(mine.video.deformation, theirs.video.deformation)
    assert main.main(["fit", *words, str(tmp_path / "x"), "--segment", "3"]) == 2
