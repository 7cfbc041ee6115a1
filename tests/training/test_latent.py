import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gendef.data import PrepareConfig, prepare
from gendef.errors import ConfigError, ModelError, TrainingError
from gendef.model.latent_files import load_autoencoder, load_latent, save_autoencoder
from gendef.networks.autoencoder import Autoencoder, AutoencoderConfig
from gendef.networks.latent_prior import LatentPriorConfig
from gendef.training.checkpoint import latest_checkpoint
from gendef.training.latent import LatentOptions, LatentTrainer
from gendef.training.latent_config import (
    AutoencoderStageConfig,
    LatentStageConfig,
    LatentTrainConfig,
    PriorStageConfig,
)
from gendef.training.latent_stages import PriorStage, random_crops
from gendef.training.trainer import Stopped


@pytest.fixture(scope="module")
def archive_path(tmp_path_factory):
    """Two sources of 32 pixels, one of 9 frames and one of 3: a bright square that moves over a ramp."""
    folder = tmp_path_factory.mktemp("latent")
    ramp = np.linspace(0, 120, 32, dtype=np.uint8)
    for source, length in (("long", 9), ("short", 3)):
        (folder / "frames" / source).mkdir(parents=True)
        for t in range(length):
            frame = np.repeat(np.broadcast_to(ramp, (32, 32))[..., None], 3, axis=2).copy()
            frame[8:16, 2 * t : 2 * t + 8] = 250
            Image.fromarray(frame).save(folder / "frames" / source / f"{t:03d}.png")
    config = PrepareConfig(resolution=32, format="png", cut_scenes=False)
    prepare([folder / "frames"], folder / "data.zip", config, workers=1)
    return folder / "data.zip"


def tiny(images=16, **changes):
    stage = {"images": images, "batch_size": 4, "warmup": 4, "ema_images": 8.0}
    return LatentTrainConfig(
        autoencoder=AutoencoderConfig(2, (4, 6, 8), (1, 1), (1, 1, 1)),
        prior=LatentPriorConfig(channels=2, size=4, patch=1, widths=(8, 8), attention=(False, True)),
        autoencoder_stage=AutoencoderStageConfig(**stage, crop=16, lpips_weight=0.0),
        prior_stage=PriorStageConfig(**stage),
        precision="float32",
        **changes,
    )


def options(out, **changes):
    return LatentOptions(out, **{"device": "cpu", "quiet": True, **changes})


def state(folder, stage):
    found = latest_checkpoint(folder / "checkpoints", stage)
    assert found is not None
    return found


def test_both_stages_make_a_model(archive_path, tmp_path):
    LatentTrainer(tiny(), archive_path, options(tmp_path / "run")).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["autoencoder", "prior"]
    assert {"loss", "l1", "coarse", "colour"} <= rows[0].keys()
    assert all(np.isfinite(row["loss"]) for row in rows)
    previews = {path.name for path in (tmp_path / "run" / "previews").iterdir()}
    assert previews == {"autoencoder-00000016.jpg", "prior-00000016.jpg"}
    autoencoder, prior, info = load_latent(tmp_path / "run" / "model")
    assert prior is not None and info["images_seen"] == 16
    trained = state(tmp_path / "run", "autoencoder")["average"]
    assert all(torch.equal(value, trained[name]) for name, value in autoencoder.state_dict().items())


@pytest.mark.parametrize("stage", ["autoencoder", "prior"])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(archive_path, tmp_path, monkeypatch, stage):
    folder = tmp_path / "autoencoder"
    torch.manual_seed(1)
    save_autoencoder(folder, Autoencoder(tiny().autoencoder), {})
    config = tiny(images=24)
    chosen = {"stages": (stage,), "autoencoder": folder}
    LatentTrainer(config, archive_path, options(tmp_path / "whole", **chosen)).run()
    with monkeypatch.context() as patch:
        patch.setattr("gendef.training.latent.CHECK_EVERY", 1)
        trainer = LatentTrainer(config, archive_path, options(tmp_path / "parts", **chosen))
        steps = iter(range(100))
        patch.setattr(trainer._stop, "is_set", lambda: next(steps) >= 2)
        with pytest.raises(Stopped, match="12 images"):
            trainer.run()
    LatentTrainer(config, archive_path, options(tmp_path / "parts", **chosen)).run()
    whole, parts = state(tmp_path / "whole", stage), state(tmp_path / "parts", stage)
    assert whole["images_seen"] == parts["images_seen"] == 24
    for name, value in whole["average"].items():
        assert torch.equal(value, parts["average"][name]), name


def test_the_autoencoder_learns(archive_path, tmp_path):
    config = tiny(images=1600)
    config = replace(config, autoencoder_stage=replace(config.autoencoder_stage, learning_rate=3e-3))
    LatentTrainer(config, archive_path, options(tmp_path / "run", stages=("autoencoder",))).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.3 * rows[0]["loss"]


def test_the_prior_learns_the_latents(archive_path, tmp_path):
    torch.manual_seed(1)
    save_autoencoder(tmp_path / "autoencoder", Autoencoder(tiny().autoencoder), {})
    config = tiny(images=1600)
    config = replace(config, prior_stage=replace(config.prior_stage, learning_rate=3e-3))
    chosen = options(tmp_path / "run", stages=("prior",), autoencoder=tmp_path / "autoencoder")
    LatentTrainer(config, archive_path, chosen).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]


def test_lpips_is_part_of_the_loss(archive_path, tmp_path, monkeypatch):
    class Half(torch.nn.Module):
        def forward(self, first, second):
            assert len(first) == 2  # a half of the batch
            return (first - second).abs().mean(dim=(1, 2, 3))

    monkeypatch.setattr("gendef.training.latent.load_lpips", lambda: (Half(), "checksum"))
    config = tiny()
    config = replace(config, autoencoder_stage=replace(config.autoencoder_stage, lpips_weight=10.0))
    LatentTrainer(config, archive_path, options(tmp_path / "run", stages=("autoencoder",))).run()
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["loss"] == pytest.approx(
        row["l1"] + 2 * row["coarse"] + 40 * row["colour"] + 10 * row["lpips"], rel=1e-5
    )


def test_sources_are_drawn_equally_often():
    latents = torch.cat([torch.zeros(90, 1, 2, 2), torch.ones(10, 1, 2, 2)]).half()
    sources = torch.tensor([0] * 90 + [1] * 10)
    prior = LatentPriorConfig(channels=1, size=2, patch=1, widths=(8,), attention=(False,))
    config = LatentTrainConfig(autoencoder=AutoencoderConfig(latent_channels=1), prior=prior)
    stage = PriorStage(config, latents, sources, torch.device("cpu"))
    rows = torch.multinomial(stage.weights, 4000, replacement=True)
    assert float(sources[rows].float().mean()) == pytest.approx(0.5, abs=0.05)
    assert float(stage.network.mean) == pytest.approx(0.1, abs=1e-6)


def test_crops_lie_anywhere_in_their_image():
    places = torch.arange(36.0).reshape(1, 1, 6, 6).expand(1, 3, 6, 6)
    generator = torch.Generator().manual_seed(0)
    corners = {int(random_crops(places, 4, generator)[0, 0, 0, 0]) for _ in range(200)}
    assert corners == {6 * y + x for y in range(3) for x in range(3)}
    assert random_crops(places, 8, generator) is places


def test_step_size_rises_stays_and_falls():
    settings = LatentStageConfig(images=1000, batch_size=10, learning_rate=1.0, warmup=100, decay_share=0.5)
    rates = [settings.rate(seen) for seen in (0, 40, 90, 500, 750, 990, 1000)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 0.05, 0.05])


def test_latents_are_encoded_once(archive_path, tmp_path, monkeypatch):
    LatentTrainer(tiny(), archive_path, options(tmp_path / "run")).run()
    kept = list((tmp_path / "run").glob("latents-*.safetensors"))
    assert len(kept) == 1
    monkeypatch.setattr(Autoencoder, "encode", lambda *_: pytest.fail("encoded again"))
    LatentTrainer(tiny(images=20), archive_path, options(tmp_path / "run", stages=("prior",))).run()


def test_a_prior_needs_an_autoencoder(archive_path, tmp_path):
    with pytest.raises(ModelError, match="autoencoder"):
        LatentTrainer(tiny(), archive_path, options(tmp_path / "run", stages=("prior",))).run()
    save_autoencoder(tmp_path / "other", Autoencoder(AutoencoderConfig(2, (4, 6, 16), (1, 1), (1, 1, 1))), {})
    chosen = options(tmp_path / "run", stages=("prior",), autoencoder=tmp_path / "other")
    with pytest.raises(ConfigError, match="other"):
        LatentTrainer(tiny(), archive_path, chosen).run()


def test_a_run_is_continued_with_its_own_settings(archive_path, tmp_path):
    LatentTrainer(tiny(), archive_path, options(tmp_path / "run", stages=("autoencoder",))).run()
    with pytest.raises(ConfigError, match="mirror"):
        LatentTrainer(tiny(mirror=False), archive_path, options(tmp_path / "run"))
    changed = replace(tiny().autoencoder_stage, latent_noise=0.5)
    with pytest.raises(ConfigError, match="latent_noise"):
        LatentTrainer(replace(tiny(), autoencoder_stage=changed), archive_path, options(tmp_path / "run"))
    longer = replace(tiny().autoencoder_stage, images=20, crop=8)
    LatentTrainer(replace(tiny(), autoencoder_stage=longer), archive_path, options(tmp_path / "run"))


def test_data_of_another_size(archive_path, tmp_path):
    config = replace(tiny(), prior=replace(tiny().prior, size=8))
    with pytest.raises(ConfigError, match="64x64"):
        LatentTrainer(config, archive_path, options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_divergence_is_told_and_not_saved(archive_path, tmp_path):
    config = tiny()
    config = replace(config, autoencoder_stage=replace(config.autoencoder_stage, latent_noise=float("inf")))
    with pytest.raises(TrainingError, match="learning-rate"):
        LatentTrainer(config, archive_path, options(tmp_path / "run", stages=("autoencoder",))).run()
    assert latest_checkpoint(tmp_path / "run" / "checkpoints", "autoencoder") is None


@pytest.mark.parametrize(
    "part, changes",
    [
        (AutoencoderStageConfig, {"crop": 20}),
        (AutoencoderStageConfig, {"lpips_share": 0}),
        (AutoencoderStageConfig, {"latent_noise": -1}),
        (PriorStageConfig, {"images": 0}),
        (PriorStageConfig, {"decay_share": 2}),
        (LatentTrainConfig, {"precision": "half"}),
        (LatentTrainConfig, {"autoencoder": AutoencoderConfig(latent_channels=8)}),
    ],
)
def test_impossible_settings(part, changes):
    with pytest.raises(ConfigError):
        part(**changes)


def test_settings_from_plain_values():
    config = tiny()
    assert LatentTrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="widhts"):
        LatentTrainConfig.from_dict({"prior": {"widhts": [8]}})


def test_an_autoencoder_alone(tmp_path):
    torch.manual_seed(0)
    network = Autoencoder(tiny().autoencoder)
    save_autoencoder(tmp_path / "a", network, {"images_seen": 3})
    loaded, info = load_autoencoder(tmp_path / "a")
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded(image), network.eval()(image)) and info == {"images_seen": 3}
    assert load_latent(tmp_path / "a")[1] is None


def test_a_folder_of_something_else(model_folder, tmp_path):
    with pytest.raises(ModelError, match="latent"):
        load_latent(model_folder)
    save_autoencoder(tmp_path / "a", Autoencoder(tiny().autoencoder), {})
    path = tmp_path / "a" / "config.json"
    path.write_text(path.read_text().replace('"latent_channels": 2', '"latent_channels": 3'))
    with pytest.raises(ModelError, match="shape"):
        load_latent(tmp_path / "a")


def test_a_decoder_learns_on_for_the_latents_of_a_prior(archive_path, tmp_path):
    run = tmp_path / "run"
    LatentTrainer(tiny(), archive_path, options(run)).run()
    before, prior, _ = load_latent(run / "model")
    config = tiny()
    longer = replace(config.autoencoder_stage, images=32, crop=8, freeze_encoder=True)
    LatentTrainer(replace(config, autoencoder_stage=longer), archive_path, options(run, stages=("autoencoder",))).run()
    LatentTrainer(config, archive_path, options(run, stages=("prior",))).run()
    after, same_prior, info = load_latent(run / "model")
    assert info["images_seen"] == 16
    assert len(list(run.glob("latents-*.safetensors"))) == 1
    for name, value in before.encoder.state_dict().items():
        assert torch.equal(value, after.encoder.state_dict()[name])
    assert not torch.equal(before.decoder[0].weight, after.decoder[0].weight)
    assert all(torch.equal(a, b) for a, b in zip(prior.parameters(), same_prior.parameters(), strict=True))


@pytest.mark.parametrize("stage", ["autoencoder", "prior"])
def test_a_new_run_starts_from_a_model(archive_path, tmp_path, stage):
    LatentTrainer(tiny(), archive_path, options(tmp_path / "first", motion="sky")).run()
    autoencoder, prior, info = load_latent(tmp_path / "first" / "model")
    assert info["motion"] == "sky"
    config = tiny(images=4)
    still = {"learning_rate": 0.0}
    config = replace(
        config,
        autoencoder_stage=replace(config.autoencoder_stage, **still),
        prior_stage=replace(config.prior_stage, **still),
    )
    folder = tmp_path / "first" / "model"
    chosen = options(tmp_path / "second", stages=(stage,), start=folder, autoencoder=folder)
    LatentTrainer(config, archive_path, chosen).run()
    found = state(tmp_path / "second", stage)["average"]
    expected = {"autoencoder": autoencoder, "prior": prior}[stage].state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_start_that_does_not_fit(archive_path, tmp_path):
    save_autoencoder(tmp_path / "a", Autoencoder(tiny().autoencoder), {})
    with pytest.raises(ModelError, match="prior"):
        chosen = options(tmp_path / "x", stages=("prior",), autoencoder=tmp_path / "a", start=tmp_path / "a")
        LatentTrainer(tiny(), archive_path, chosen).run()
    wider = replace(tiny(), autoencoder=AutoencoderConfig(2, (4, 6, 16), (1, 1), (1, 1, 1)))
    with pytest.raises(ConfigError, match="autoencoder"):
        LatentTrainer(wider, archive_path, options(tmp_path / "y", stages=("autoencoder",), start=tmp_path / "a")).run()
