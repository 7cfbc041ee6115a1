import json
from dataclasses import replace

import pytest
import torch

from gendef.cli.main import main
from gendef.errors import ConfigError
from gendef.model.baseline import load_model
from gendef.training.checkpoint import latest_checkpoint
from gendef.training.config import TrainConfig
from gendef.training.presets import as_model, preset
from gendef.training.trainer import Trainer

from .conftest import tiny_training
from .test_trainer import options

BASELINES = ("stylegan-v", "stylesv-mtm", "mocogan")


@pytest.mark.parametrize("model", BASELINES)
def test_a_rival_trains_end_to_end(archive_path, tmp_path, model):
    config = as_model(tiny_training(), model)
    Trainer(config, archive_path, options(tmp_path / "run")).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == (["pretrain"] if model == "stylesv-mtm" else []) + ["finetune"]
    assert "loss_g_video" in rows[-1] and "field_pixels" not in rows[-1]
    previews = {path.suffix for path in (tmp_path / "run" / "previews").glob("finetune-*")}
    assert previews == {".png", ".mp4"}
    trained = load_model(tmp_path / "run" / "model")
    assert trained.kind == model and trained.info["images_seen"] == 16
    assert trained.sample(0, 3).frames.shape == (3, 3, 16, 16)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("model", BASELINES)
def test_every_parameter_learns_from_clips(archive_path, tmp_path, model):
    config = as_model(tiny_training(), model)
    trainer = Trainer(config, archive_path, options(tmp_path / "run"))
    stage = trainer.build("finetune")
    before = {name: value.clone() for name, value in stage.generator.named_parameters()}
    stream = trainer.stream(stage)
    for step in range(2):
        stage.step(stream.batch(step), stream.sample_times(step))
    still = [name for name, value in stage.generator.named_parameters() if torch.equal(value, before[name])]
    assert not still


def test_mocogan_begins_its_clips_at_time_zero(archive_path, tmp_path, monkeypatch):
    trainer = Trainer(as_model(tiny_training(), "mocogan"), archive_path, options(tmp_path / "run"))
    stage = trainer.build("finetune")
    asked = []
    original = stage.generator.forward
    monkeypatch.setattr(
        stage.generator, "forward", lambda z, noise, times, **rest: asked.append(times) or original(z, noise, times)
    )
    stage.step(trainer.stream(stage).batch(0), torch.tensor([[700.0, 703.0, 705.0]] * 4))
    assert asked[0].tolist() == [[0.0, 3.0, 5.0]] * 4


def test_gendef_and_stylesv_share_stage_one(archive_path, tmp_path):
    base = tiny_training()
    Trainer(base, archive_path, options(tmp_path / "run", stages=("pretrain",))).run()
    target = tmp_path / "baseline" / "checkpoints"
    target.mkdir(parents=True)
    for path in (tmp_path / "run" / "checkpoints").glob("pretrain-*"):
        (target / path.name).write_bytes(path.read_bytes())
    generator = as_model(base, "stylesv-mtm").generator
    baseline = replace(as_model(base, "stylesv-mtm"), generator=replace(generator, canonical=base.generator.canonical))
    stage = Trainer(baseline, archive_path, options(tmp_path / "baseline")).build("finetune")
    state = latest_checkpoint(tmp_path / "run" / "checkpoints", "pretrain")["average"]
    for name, value in stage.generator.canonical.state_dict(prefix="canonical.").items():
        assert torch.equal(value, state[name]), name


def test_a_budget_of_seconds_ends_a_stage_and_counts_over_restarts(archive_path, tmp_path):
    longer = replace(tiny_training(), pretrain=replace(tiny_training().pretrain, images=10**6))
    budget = {"stages": ("pretrain",), "seconds": {"pretrain": 0.5}}
    trainer = Trainer(longer, archive_path, options(tmp_path / "run", **budget))
    trainer.run()
    stage = trainer.build("pretrain")
    assert 0.5 <= stage.seconds < 5 and stage.images_seen < 10**6
    Trainer(longer, archive_path, options(tmp_path / "run", **budget)).run()
    assert trainer.build("pretrain").images_seen == stage.images_seen, "nothing is left to spend"
    more = {"stages": ("pretrain",), "seconds": {"pretrain": stage.seconds + 0.3}}
    Trainer(longer, archive_path, options(tmp_path / "run", **more)).run()
    assert trainer.build("pretrain").images_seen > stage.images_seen


def test_settings_for_fields_are_refused(archive_path, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"finetune\.smoothness is 1\.0, but mocogan"):
        replace(tiny_training(), generator=replace(tiny_training().generator, model="mocogan"))
    arguments = ["--data", str(archive_path), "--out", str(tmp_path / "run"), "--preset", "tiny32"]
    assert main(["train", *arguments, "--model", "stylegan-v", "--finetune.least-speed", "0.2"]) == 2
    assert "least_speed is 0.2, but stylegan-v" in capsys.readouterr().err
    assert main(["train", *arguments, "--model", "digan"]) == 2
    assert "unknown model 'digan'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="stylegan-v has no stage pretrain"):
        only = options(tmp_path / "run", stages=("pretrain",))
        Trainer(as_model(tiny_training(), "stylegan-v"), archive_path, only)


@pytest.mark.parametrize("model", BASELINES)
@pytest.mark.parametrize("name", ["tiny32", "sky256"])
def test_presets_make_every_model(name, model):
    config = as_model(preset(name), model)
    assert config.generator.model == model and config.finetune.smoothness == 0
    assert config.stages == (("pretrain", "finetune") if model == "stylesv-mtm" else ("finetune",))
    if model == "stylesv-mtm":
        assert config.generator.canonical.mtm_sizes
