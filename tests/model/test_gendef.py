import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.conftest import tiny_config

import gendef
from gendef.errors import InputError, ModelError
from gendef.model.gendef import GenDeF
from gendef.model.hub import builtin_models, find_model
from gendef.networks.generator import Generator


@pytest.fixture
def model(model_folder):
    return GenDeF.from_pretrained(model_folder)


def test_round_trip(model, tmp_path):
    model.save_pretrained(tmp_path / "again")
    again = GenDeF.from_pretrained(tmp_path / "again")
    assert again.fingerprint == model.fingerprint
    assert again.fps == 12.5
    assert torch.equal(again.sample(seed=3, num_frames=4).deformation, model.sample(seed=3, num_frames=4).deformation)


def test_half_precision_is_close(model, tmp_path):
    model.save_pretrained(tmp_path / "half", half=True)
    half = GenDeF.from_pretrained(tmp_path / "half").sample(seed=1, num_frames=2)
    torch.testing.assert_close(half.canonical, model.sample(seed=1, num_frames=2).canonical, atol=0.02, rtol=0)


def test_same_seed_same_video_and_longer_begins_with_shorter(model, monkeypatch):
    short, long = model.sample(seed=5, num_frames=9), model.sample(seed=5, num_frames=70)
    torch.testing.assert_close(long.deformation[:9], short.deformation, atol=1e-5, rtol=1e-4)
    assert torch.equal(long.canonical, short.canonical)
    monkeypatch.setattr("gendef.model.sampling.CPU_CHUNK_PIXELS", 3 * 16 * 16)
    chunked = model.sample(seed=5, num_frames=70)
    torch.testing.assert_close(chunked.deformation, long.deformation, atol=1e-5, rtol=1e-4)


def test_different_seeds_differ(model):
    assert not torch.allclose(
        model.sample(seed=1, num_frames=1).canonical, model.sample(seed=2, num_frames=1).canonical
    )


def test_content_and_motion_are_apart(model):
    base = model.sample(content_seed=1, motion_seed=2, num_frames=6)
    other_motion = model.sample(content_seed=1, motion_seed=3, num_frames=6)
    assert torch.equal(base.canonical, other_motion.canonical)
    assert not torch.allclose(base.deformation, other_motion.deformation)


def test_fractional_times_lie_between(model):
    whole = model.sample(seed=0, num_frames=4)
    slow = model.sample(seed=0, times=torch.arange(7) / 2)
    torch.testing.assert_close(slow.deformation[::2], whole.deformation, atol=1e-5, rtol=1e-4)


def test_motions_keep_the_content_and_its_edits(model):
    video = model.sample(seed=7, num_frames=3)
    edited = video.with_canonical(torch.zeros(3, 16, 16))
    others = model.sample_motions(edited, seeds=[7, 8])
    assert len(others) == 2 and (others[0].canonical == 0).all()
    torch.testing.assert_close(others[0].deformation, video.deformation)
    assert not torch.allclose(others[1].deformation, video.deformation)
    with pytest.raises(InputError, match="not made by this model"):
        model.sample_motions(gendef.CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, 2)), seeds=[1])


def test_streamed_clip_equals_sampled_video(model, tmp_path):
    plan = model.plan(4, 6)
    assert sum(plan.write(tmp_path / "clip", 10.0)) == 6
    loaded, sampled = gendef.CanonicalVideo.load(tmp_path / "clip"), model.sample(seed=4, num_frames=6)
    assert torch.equal(loaded.deformation, sampled.deformation)
    assert torch.equal(loaded.canonical, sampled.canonical)
    assert loaded.info == sampled.info


def test_classes(tmp_path):
    torch.manual_seed(0)
    model = GenDeF(Generator(tiny_config(num_classes=3)))
    first, second = (model.sample(seed=1, num_frames=1, label=k) for k in (0, 1))
    assert not torch.allclose(first.canonical, second.canonical)
    assert model.sample(seed=1, num_frames=1).info["label"] in (0, 1, 2)
    with pytest.raises(InputError, match="label must be between 0 and 2"):
        model.sample(label=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "at least 1, got 0"),
        ({"num_frames": -3}, "at least 1, got -3"),
        ({"truncation": -1.0}, "truncation must be"),
        ({"times": [-1.0]}, "none negative"),
        ({"times": []}, "at least one"),
        ({"label": 1}, "no classes"),
    ],
)
def test_bad_numbers(model, options, message):
    with pytest.raises(InputError, match=message):
        model.sample(**options)


def test_a_folder_of_anything_does_not_hide_a_built_in_model(tmp_path, monkeypatch, model_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sky").mkdir()
    assert find_model("sky") != Path("sky")
    shutil.copy(model_folder / "config.json", "sky")
    assert find_model("sky") == Path("sky")


def test_unknown_model_names_the_built_in_ones():
    with pytest.raises(ModelError, match="there is no model 'moon'"):
        GenDeF.from_pretrained("moon")


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def wider(folder):
    config = json.loads((folder / "config.json").read_text())
    config["generator"]["w_dim"] = 32
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda f: (f / "config.json").write_text("nonsense"), "damaged"),
        (lambda f: edit_config(f, version=2), "model format 2"),
        (lambda f: edit_config(f, generator={"depth": 3}), "no field 'depth'"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x00" * 100), "cannot be read"),
        (lambda f: torch.save({}, f / "model.safetensors"), "cannot be read"),
        (wider, "has shape"),
    ],
)
def test_damaged_model_folders(model_folder, damage, message):
    damage(model_folder)
    with pytest.raises(ModelError, match=message):
        GenDeF.from_pretrained(model_folder)


@pytest.mark.parametrize("name", builtin_models())
def test_built_in_models_move_and_differ(name):
    model = GenDeF.from_pretrained(name)
    first, second = model.sample(seed=0, num_frames=16), model.sample(seed=1, num_frames=16)
    assert (first.canonical - second.canonical).abs().mean() > 0.05
    assert first.deformation.diff(dim=0).abs().max() > 1e-3
