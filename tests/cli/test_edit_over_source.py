"""`gendef edit` over real footage: size, sound, times and colours of the source."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.cli.main import main
from gendef.media.source_frames import describe_source
from gendef.media.video_file import decode_video, examine_video

FOOTAGE = Path(__file__).parents[1] / "data" / "footage"


def clip_of(name, tmp_path, frames=6):
    """A clip that shows the first frame of a video at half its size, and says which video it is of."""
    first = next(decode_video(FOOTAGE / name))
    picture = Image.fromarray(first.image).resize((first.image.shape[1] // 2, first.image.shape[0] // 2))
    size = (picture.height, picture.width)
    video = CanonicalVideo(picture, torch.zeros(frames, *size, 2))
    video.info["footage"] = describe_source(FOOTAGE / name, list(range(2, 2 + frames)), None)
    video.save(tmp_path / "clip")
    drawing = np.zeros((180, 320, 4), np.uint8)
    drawing[40:100, 60:140] = (255, 0, 0, 255)
    Image.fromarray(drawing).save(tmp_path / "red.png")
    return tmp_path / "clip"


def test_size_and_sound_of_the_source(tmp_path, capsys):
    clip, out = clip_of("clip.m2ts", tmp_path), tmp_path / "edited"
    assert main(["edit", str(clip), "--overlay", str(tmp_path / "red.png"), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["size"] == [320, 180] and report["over"].endswith("clip.m2ts")
    facts = examine_video(out / "edited.mp4")
    assert (facts.width, facts.height, facts.audio) == (320, 180, True)
    source = [frame.image for frame in decode_video(FOOTAGE / "clip.m2ts")][2:8]
    shown = [frame.image for frame in decode_video(out / "edited.mp4")]
    for frame, original in zip(shown, source, strict=True):
        assert np.abs(frame[60:80, 80:120].astype(int) - (255, 0, 0)).max() < 30
        assert np.abs(frame[120:].astype(int) - original[120:]).mean() < 4  # what encoding loses
    with av.open(str(out / "edited.mp4")) as container:
        stream = container.streams.audio[0]
        seconds = sum(frame.samples for frame in container.decode(stream)) / stream.codec_context.sample_rate
    assert seconds == pytest.approx(6 / 25, abs=0.05)
    assert main(["edit", str(clip), "--filter", "grey", "--out", str(tmp_path / "mute"), "--no-audio"]) == 0
    assert not examine_video(tmp_path / "mute" / "edited.mp4").audio


def test_frame_times_of_the_source(tmp_path):
    clip, out = clip_of("vardelay.gif", tmp_path), tmp_path / "edited"
    assert main(["edit", str(clip), "--filter", "sepia", "--gif", "--out", str(out)]) == 0
    for name in ("edited.mp4", "edited.gif"):
        times = [frame.time for frame in decode_video(out / name)]
        assert times == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.56], abs=2e-3)


def test_colours_of_the_source(tmp_path):
    clip, out = clip_of("bars709.mp4", tmp_path, frames=1), tmp_path / "edited"
    assert main(["edit", str(clip), "--overlay", str(tmp_path / "red.png"), "--out", str(out)]) == 0
    facts = examine_video(out / "edited.mp4")
    assert (facts.tags.primaries, facts.tags.transfer, facts.tags.matrix) == (1, 1, 1)


def test_the_edit_alone(tmp_path):
    clip, out = clip_of("clip.m2ts", tmp_path), tmp_path / "edited"
    drawn = ["edit", str(clip), "--overlay", str(tmp_path / "red.png"), "--layer-only"]
    assert main([*drawn, "--codec", "prores4444", "--out", str(out)]) == 0
    frame = next(decode_video(out / "edited.mov"))
    assert frame.alpha[60:80, 80:120].min() > 250 and frame.alpha[120:].max() == 0


def test_mistakes(tmp_path, capsys):
    clip, out = clip_of("clip.m2ts", tmp_path), tmp_path / "edited"
    drawn = ["edit", str(clip), "--overlay", str(tmp_path / "red.png"), "--out", str(out)]
    for options, word in (
        (["--layer-only"], "h264"),
        (["--source", str(tmp_path / "red.png")], "red.png"),
        (["--source", str(tmp_path / "gone.mp4")], "gone.mp4"),
        (["--rendered", "--source", str(FOOTAGE / "clip.m2ts")], "--rendered"),
    ):
        assert main([*drawn, *options]) == 2
        assert word in capsys.readouterr().err
        assert not out.exists()
    assert main([*drawn, "--rendered"]) == 0
    assert examine_video(out / "edited.mp4").height in (90, 180, 270)  # small renderings are enlarged by a whole factor
