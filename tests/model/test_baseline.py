import json

import numpy as np
import pytest
import torch
from tests.conftest import tiny_config

from gendef.cli.main import main
from gendef.errors import InputError, ModelError
from gendef.model.baseline import BaselineModel, load_model
from gendef.model.checkpoint import save_generator
from gendef.model.gendef import GenDeF
from gendef.model.sampling import frames_at_once
from gendef.networks.baselines import build_generator


@pytest.fixture(params=["stylegan-v", "stylesv-mtm", "mocogan"])
def folder(request, tmp_path):
    torch.manual_seed(0)
    generator = build_generator(tiny_config(model=request.param)).eval()
    save_generator(tmp_path / "model", generator, {"fps": 12.5})
    return tmp_path / "model"


def test_the_same_seed_gives_the_same_video_whatever_its_length(folder, monkeypatch):
    model = load_model(folder)
    assert isinstance(model, BaselineModel) and model.fps == 12.5
    long = model.sample(seed=3, num_frames=7)
    monkeypatch.setattr("gendef.model.sampling.CPU_CHUNK_PIXELS", 2 * 16**2)
    short = model.sample(seed=3, num_frames=5)
    torch.testing.assert_close(long.frames[:5], short.frames, atol=1e-5, rtol=1e-4)
    assert (model.sample(seed=4, num_frames=1).frames - long.frames[:1]).abs().max() > 1e-3
    assert long.info["weights"] == model.fingerprint and long.info["times"] is None


def test_content_and_motion_have_seeds_of_their_own(folder):
    model = load_model(folder)
    both = model.sample(seed=1, num_frames=3).frames
    named = model.sample(content_seed=1, motion_seed=1, num_frames=3).frames
    other = model.sample(content_seed=1, motion_seed=2, num_frames=3).frames
    assert torch.equal(both, named) and not torch.equal(both, other)


def test_where_a_field_is_needed_the_model_is_refused(folder, tmp_path, capsys):
    with pytest.raises(ModelError, match="load_model"):
        GenDeF.from_pretrained(folder)
    assert main(["sample", str(folder), "--seeds", "0", "--frames", "2", "--draw", "--out", str(tmp_path / "v")]) == 2
    assert "--draw" in capsys.readouterr().err


def test_impossible_numbers(folder):
    model = load_model(folder)
    with pytest.raises(InputError, match="none negative"):
        model.sample(times=[-1.0])
    with pytest.raises(InputError, match="at least 1"):
        model.sample(num_frames=0)


def test_the_command_writes_videos(folder, tmp_path, capsys):
    out = tmp_path / "videos"
    arguments = ["--seeds", "0,1", "--frames", "4", "--gif", "--frame-files", "--grid", "--json", "--out", str(out)]
    assert main(["sample", str(folder), *arguments]) == 0
    clips = json.loads(capsys.readouterr().out)["clips"]
    assert [clip["content_seed"] for clip in clips] == [0, 1]
    names = {path.name for path in out.iterdir()}
    assert {"seed0000.mp4", "seed0001.gif", "seed0000_frames", "sheet.png", "grid.mp4"} <= names
    assert len(list((out / "seed0001_frames").iterdir())) == 4


def test_it_is_measured_like_any_model(folder):
    from gendef.evaluation.open_clips import open_clips
    from gendef.evaluation.sampling import Sampling

    clips = list(open_clips(str(folder)).clips(Sampling(frames=3, count=2, start="zero")))
    assert [clip.shape for clip in clips] == [(3, 3, 16, 16)] * 2
    frames = load_model(folder).sample(0, 3).frames
    assert np.abs(clips[0].numpy() - ((frames.clamp(-1, 1) + 1) * 127.5).numpy()).max() <= 0.51


def test_a_gpu_gets_larger_chunks():
    assert [frames_at_once(64, torch.device(kind)) for kind in ("cpu", "cuda")] == [64, 512]
    assert frames_at_once(1024, torch.device("cpu")) == 1
