"""Containers, animations and sequences that were refused, or read without a word."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendef.media.footage import read_footage
from gendef.media.sources import discover
from gendef.media.video_reader import (
    probe,
    read_frames,
)

FOOTAGE = Path(__file__).parents[1] / "data" / "footage"


@pytest.mark.parametrize("name", ["clip.m2ts", "g.3gp", "anim.webp", "vardelay.gif", "cover_first.mkv"])
def test_containers(name):
    footage = read_footage(FOOTAGE / name, 90)
    assert [len(scene.frames) for scene in footage.scenes] == [12]
    assert footage.scenes[0].frames[0].shape == (90, 160, 3)


def test_a_named_file_is_read_by_its_content(tmp_path):
    copy = tmp_path / "clip.unknown"
    shutil.copy(FOOTAGE / "g.3gp", copy)
    assert len(read_footage(copy, 90).scenes[0].frames) == 12


def test_a_gap_in_a_sequence_is_said(tmp_path):
    for number in (1001, 1002, 1005, 1006):
        Image.new("RGB", (32, 32), (number % 255, 0, 0)).save(tmp_path / f"shot.{number}.png")
    footage = read_footage(tmp_path, 32)
    assert any("1003 to 1004" in note for note in footage.notes)
    (tmp_path / "shot.1002.png").unlink()
    (tmp_path / "shot.1006.png").unlink()
    assert read_footage(tmp_path, 32).notes == []  # every fourth picture: a choice, and no gap


def test_frame_rate_by_hand():
    footage = read_footage(FOOTAGE / "cuts.mp4", 90, fps=12)
    assert footage.fps == 12 and not any("--fps" in note for note in footage.notes)
    assert footage.scenes[0].times[:3] == pytest.approx([0, 1 / 12, 2 / 12])
    assert any("--fps" in note for note in read_footage(FOOTAGE / "cuts.mp4", 90).notes)


def test_alpha_comes_along_at_the_size_of_the_frames():
    scene = read_footage(FOOTAGE / "transparent.gif", 90).scenes[0]
    assert scene.alpha is not None and all(alpha.shape == (90, 160) for alpha in scene.alpha)
    outside = scene.alpha[0] == 0
    assert outside.any() and scene.frames[0][outside].max() == 0  # over black where it is transparent


def test_times_follow_the_file():
    source = discover([FOOTAGE / "vardelay.gif"])[0]
    assert probe(source).fps == pytest.approx(100 / 7)
    assert [frame.time for frame in read_frames(source)][6:8] == pytest.approx([0.24, 0.64])
    np.testing.assert_allclose(read_footage(source.path, 90).scenes[0].times[6:8], [0.24, 0.64])
