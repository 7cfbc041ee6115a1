import itertools
import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import tiny_config
from tests.fitting.conftest import scenery, views, write_frames

import gendef
from gendef.cli import fit_model, main
from gendef.errors import InputError, ModelError
from gendef.fitting.options import FitOptions
from gendef.fitting.single_fit import fit_single
from gendef.inversion import InversionOptions, invert
from gendef.inversion import stages as stages_module
from gendef.inversion import state as states
from gendef.inversion.invert import _ramp
from gendef.inversion.latents import (
    Latents,
    generate_content,
    generate_fields,
    nearest_content,
    nearest_motion,
    random_w,
)
from gendef.inversion.target import find_target, mean_motion, read_square
from gendef.model.gendef import GenDeF
from gendef.networks.generator import Generator

SIDE = 32


@pytest.fixture(scope="module")
def generator():
    """An untrained generator of 32 pixels whose fields move from the start."""
    torch.manual_seed(0)
    config = tiny_config()
    made = Generator(replace(config, resolution=SIDE, deformation=replace(config.deformation, init="smooth")))
    made = made.eval().requires_grad_(False)
    made.mapping.w_avg.copy_(made.mapping(torch.randn(64, 16)).mean(dim=0))
    made.motion_mapping.w_avg.copy_(made.motion_mapping(torch.randn(64, 16)).mean(dim=0))
    return made


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """Six frames of 40x32 that pan by one pixel a frame to the right."""
    y, x = np.mgrid[:SIDE, :40]
    grid = torch.from_numpy(np.stack((x, y), axis=-1)).float()
    frames = views(scenery(48, 64), torch.stack([grid + torch.tensor([8.0 + t, 6.0]) for t in range(6)]))
    return write_frames(tmp_path_factory.mktemp("clip") / "pan", frames)


def short_fit(scene, footage, options, name, on_progress):
    """A plain fit of one sweep."""
    hurried = FitOptions(quality="fast", seed=options.seed, budget=1e-3)
    return fit_single(scene, footage, hurried, name, on_progress=on_progress)


def limit_steps(monkeypatch, steps, contents, motions):
    """Limit the steps of the four stages at quality fast, and the random latents at the start."""
    for stage, count in zip(stages_module.STAGES, steps, strict=True):
        monkeypatch.setitem(stage.steps, "fast", count)
    objective = import_module("gendef.inversion.objective")
    monkeypatch.setattr(objective, "CONTENTS", contents)
    monkeypatch.setattr(objective, "MOTIONS", motions)


@pytest.fixture
def few_steps(monkeypatch):
    """Inversions of a few steps, among few seeds, after a short fit."""
    limit_steps(monkeypatch, (4, 3, 3, 8), 8, 3)
    monkeypatch.setattr(import_module("gendef.inversion.target"), "fit_single", short_fit)


def test_the_target_is_seen_from_the_reference_frame(pan):
    scene, footage = read_square(pan, SIDE)
    assert scene.frames[0].shape == (SIDE, SIDE, 3)
    assert footage.notes == ["the model makes squares: 40x32 was cut to its middle"]
    target = find_target(scene, footage, "pan", 0, lambda progress: None)
    reference = target.reference
    assert target.fields[reference].abs().max() < 1e-5
    assert (target.canonical - target.frames[reference]).abs().mean() < 0.03
    for t in range(6):
        shift = (target.fields[t] * SIDE / 2)[target.trusted[t] > 0].median(dim=0).values
        torch.testing.assert_close(shift, torch.tensor([float(t - reference), 0.0]), atol=0.1, rtol=0)
    outside = (target.fields[..., 0] + torch.linspace(-1, 1, SIDE) > 1 + 2 / SIDE) & (target.trusted > 0)
    assert not outside.any()
    assert mean_motion(target.fields) == pytest.approx(1.0, abs=0.1)


def test_small_clips_are_enlarged_and_long_ones_refused(tmp_path):
    small = write_frames(tmp_path / "small", scenery(20, 20).expand(2, 3, 20, 20))
    scene, footage = read_square(small, SIDE)
    assert scene.frames[0].shape == (SIDE, SIDE, 3) and "smaller than the model's 32 pixels" in footage.notes[-1]
    long = write_frames(tmp_path / "long", scenery(16, 16).expand(257, 3, 16, 16))
    with pytest.raises(InputError, match="257 frames, an inversion takes 256 at most: choose with --start"):
        read_square(long, SIDE)


def test_contents_and_motions_that_exist_are_found(generator):
    w = random_w(generator, 8, 3)
    truth = generate_content(generator, w[5:6])
    found, spread = nearest_content(
        generator, truth.image, lambda images: (images - truth.image).abs().mean((1, 2, 3)), 8, 3
    )
    torch.testing.assert_close(found, w[5:6])
    torch.testing.assert_close(spread, w.std(dim=0))
    rows = generator.motion_noise_length(5.0)
    one = nearest_motion(generator, truth, torch.zeros(6, SIDE, SIDE, 2), torch.ones(6, SIDE, SIDE), 1, 7)
    assert one.noise.shape == (1, rows, 16)
    # Among four motions, the second one of this seed is found again by its fields.
    other = nearest_motion(generator, truth, torch.zeros(6, SIDE, SIDE, 2), torch.ones(6, SIDE, SIDE), 4, 2)
    fields = generate_fields(generator, truth, other, torch.arange(6.0))
    again = nearest_motion(generator, truth, fields, torch.ones(6, SIDE, SIDE), 4, 2)
    torch.testing.assert_close(again.noise, other.noise)
    assert not torch.equal(one.noise, other.noise)


def test_inversion_gives_a_model_that_holds_the_clip(generator, pan, few_steps):
    model = GenDeF(generator, {"fps": 10.0}, "tiny")
    before = model.fingerprint
    reports = []
    found = invert(pan, model, options=InversionOptions("fast"), on_progress=reports.append)
    reached = found.video.report
    assert reached["psnr"] > reached["psnr_before_tuning"] and reached["steps"] == 18
    assert {"content", "motion", "together", "tuning"} <= {report.stage for report in reports}
    assert all(a.done <= b.done + 1e-9 for a, b in itertools.pairwise(reports))
    assert GenDeF(generator).fingerprint == before  # the model itself stays
    # Truncation 0 is the clip's content for every seed, and other motions of it can be had.
    for seed in (0, 5):
        near = found.model.sample(seed=seed, num_frames=2, truncation=0.0)
        torch.testing.assert_close(near.canonical.clamp(-1, 1), found.video.canonical, atol=1e-5, rtol=0)
    found.video.info["model"] = "somewhere"
    one, two = found.model.sample_motions(found.video, [1, 2])
    assert one.num_frames == 6 and torch.equal(one.canonical, found.video.canonical)
    assert not torch.allclose(one.deformation, two.deformation)
    # The clip's own fields come from its latents.
    content = generate_content(found.model.generator, found.latents.content)
    fields = generate_fields(found.model.generator, content, found.latents, torch.arange(6.0))
    torch.testing.assert_close(fields, found.video.deformation)


def test_a_clip_of_the_generator_itself_is_found_nearly(generator, tmp_path, monkeypatch):
    limit_steps(monkeypatch, (60, 20, 5, 15), 32, 4)
    w = random_w(generator, 1, 99)
    rows = generator.motion_noise_length(3.0)
    latents = Latents(w, random_w(generator, 1, 99, "motion"), torch.randn(1, rows, 16))
    content = generate_content(generator, w)
    frames = generator.render(content, generate_fields(generator, content, latents, torch.arange(4.0))[None])[0].clamp(
        -1, 1
    )
    found = invert(write_frames(tmp_path / "own", frames), GenDeF(generator), options=InversionOptions("fast"))
    assert found.untuned.report["psnr"] > 25
    assert found.video.report["psnr"] > found.untuned.report["psnr"] > 0


def test_learning_rates_rise_and_fall():
    assert _ramp(0.0) == pytest.approx(0.05) and _ramp(0.3) == 1.0 and _ramp(1.0) == pytest.approx(0.0)


@pytest.fixture
def saved(generator, tmp_path):
    folder = tmp_path / "tiny_model"
    GenDeF(generator, {"fps": 10.0}).save_pretrained(folder)
    return str(folder)


def test_command(saved, pan, tmp_path, few_steps, capsys):
    out = tmp_path / "mine"
    arguments = ["fit", str(pan), "--model", saved, "--out", str(out), "--quality", "fast"]
    assert main.main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["clip"] == str(out) and told["psnr"] > told["psnr_before_tuning"] and told["frames"] == [0, 5]
    assert not list(out.glob(".*"))
    clip = gendef.CanonicalVideo.load(out)
    assert clip.info["model"] == told["model"] == str(tmp_path / "mine_model") and clip.fps == 25
    with Image.open(told["sheet"]) as sheet:
        assert sheet.height > 5 * 128
    assert main.main(["motions", str(out), "--seeds", "1,2", "--out", str(tmp_path / "motions")]) == 0
    assert (
        main.main(
            [
                "sample",
                told["model"],
                "--seeds",
                "1",
                "--frames",
                "3",
                "--truncation",
                "0.3",
                "--out",
                str(tmp_path / "near"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert main.main([*arguments, "--frames", "1"]) == 0  # a single picture, and the clip is replaced
    assert "warning: the model makes squares" in capsys.readouterr().out
    assert gendef.CanonicalVideo.load(out).num_frames == 1


def test_a_budget_ends_it(saved, pan, tmp_path, few_steps, capsys):
    arguments = ["--model", saved, "--out", str(tmp_path / "a"), "--budget", "2s", "--quality", "fast", "--json"]
    assert main.main(["fit", str(pan), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] >= 4 and report["seconds"] < 60


def test_continues_exactly_where_it_was_stopped(saved, pan, tmp_path, few_steps, monkeypatch):
    arguments = ["fit", str(pan), "--model", saved, "--quality", "fast", "--out"]
    assert main.main([*arguments, str(tmp_path / "whole")]) == 0
    for stop_after in (5, 14):  # in the second stage, and while the model is tuned

        class Impatient(states.InversionStateFile):
            count = 0

            def offer(self, progress):
                self.save(progress())
                type(self).count += 1
                if type(self).count == self.stop:
                    raise KeyboardInterrupt

        Impatient.stop = stop_after
        monkeypatch.setattr(fit_model, "InversionStateFile", Impatient)
        out = tmp_path / f"stopped{stop_after}"
        assert main.main([*arguments, str(out)]) == 130
        assert (out / fit_model.STATE).exists() and not (tmp_path / f"stopped{stop_after}_model").exists()
        assert main.main([*arguments, str(out)]) == 0
        assert Impatient.count == 18  # no step was made twice
        one, two = (gendef.CanonicalVideo.load(tmp_path / name) for name in ("whole", out.name))
        assert torch.equal(one.canonical, two.canonical) and torch.equal(one.deformation, two.deformation)


def test_a_damaged_or_foreign_state_begins_anew(tmp_path):
    file = states.InversionStateFile(tmp_path / "state", {"a": 1})
    assert file.load() is None
    file.save(states.InversionState(0, [1, 0, 0, 0], 2.0, {"x": torch.ones(2)}))
    assert file.load().steps == [1, 0, 0, 0]
    assert states.InversionStateFile(tmp_path / "state", {"a": 2}).load() is None
    (tmp_path / "state").write_bytes(b"no tensors")
    assert file.load() is None


def test_models_with_classes(pan, few_steps):
    torch.manual_seed(0)
    generator = Generator(replace(tiny_config(num_classes=3), resolution=SIDE)).eval()
    found = invert(pan, GenDeF(generator), frames=3, options=InversionOptions("fast"))
    assert found.video.info["label"] == 0
    other = found.model.sample_motions(found.video, [4])[0]
    assert other.num_frames == 3


def test_bad_input_is_one_sentence(saved, pan, tmp_path, capsys, model_folder):
    def told(*arguments):
        assert main.main(["fit", *map(str, arguments), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error and error.count("\n") == 1
        return error

    assert "there is no model 'nothing'" in told(pan, "--model", "nothing")
    assert "there is no" in told(tmp_path / "absent.mp4", "--model", saved)
    assert "needs 32 at least" in told(pan, "--model", model_folder)
    assert "start is frame 9" in told(pan, "--model", saved, "--start", "9")
    assert "goes without --masks and --layers" in told(pan, "--model", saved, "--layers", "auto")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "(notes.txt)" in told(pan, "--model", saved)


def test_impossible_options(generator, pan):
    for wrong, words in (
        ({"quality": "great"}, "quality must be one of fast, default, best"),
        ({"seed": -1}, "seed must be between 0"),
        ({"budget": 0.0}, "budget must be a positive number"),
    ):
        with pytest.raises(InputError, match=words):
            InversionOptions(**wrong)
    mixed = GenDeF(generator, name="mixed")
    mixed.generator = replace_config(generator)
    with pytest.raises(ModelError, match="mixed lets its motion change the canonical image"):
        invert(pan, mixed)


def replace_config(generator):
    """The generator with a configuration that says its content depends on the motion."""
    changed = Generator(generator.config).eval()
    changed.config = replace(generator.config, canonical_motion=True)
    return changed
