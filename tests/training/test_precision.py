"""Training steps in bfloat16: gradients of the same direction, positions and averages in float32."""

from dataclasses import replace

import pytest
import torch

from gendef.data.clips import ClipBatch
from gendef.networks.baselines import build_generator
from gendef.networks.layers import EqualizedConv2d
from gendef.training import stages
from gendef.training.discriminators import build_discriminator
from gendef.training.micro_batch import MicroBatches
from gendef.training.presets import fit_to_data
from gendef.training.stages import build_stage
from gendef.training.trainer import RunOptions, Trainer

from .conftest import tiny_training


def step(precision, discriminator, stage, archive_path, folder, watch):
    """A stage after one step; `watch` is called with the trainer's stage before."""
    extra = {"image_weight": 0.5, "canonical_weight": 0.5} if discriminator == "projected" else {}
    augment = "diffaug" if discriminator == "projected" else "ada"
    config = replace(tiny_training(discriminator, augment, least_speed=0.5, **extra), precision=precision)
    trainer = Trainer(config, archive_path, RunOptions(folder / precision, (stage,), device="cpu", quiet=True))
    torch.manual_seed(0)
    made = trainer.build(stage)
    watch(made)
    stream = trainer.stream(made)
    metrics = made.step(next(stream.iterate(0)), stream.sample_times(0))
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in metrics.values())
    return made


@pytest.mark.parametrize("discriminator", ["stylegan-v", "projected"])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_gradients(discriminator, stage, archive_path, tmp_path, monkeypatch):
    codes, judged, logits = [], set(), []

    def watch(made):
        made.generator.motion_encoder.register_forward_hook(lambda _, __, result: codes.append(result.detach()))
        for module in made.discriminator.modules():
            if isinstance(module, (torch.nn.Conv2d, EqualizedConv2d)):
                module.register_forward_hook(lambda _, __, result: judged.add(result.dtype))
        loss = stages.discriminator_loss

        def noted(real, fake, kind):
            logits.append(real.detach())
            return loss(real, fake, kind)

        monkeypatch.setattr(stages, "discriminator_loss", noted)

    exact = step("float32", discriminator, stage, archive_path, tmp_path, watch)
    assert judged == {torch.float32}
    logits.clear()
    rounded = step("bfloat16", discriminator, stage, archive_path, tmp_path, watch)
    assert judged == {torch.float32, torch.bfloat16}
    for found in logits:
        assert not torch.equal(found, found.bfloat16().float()), "logits have all digits"
    if stage == "finetune":
        assert torch.equal(*codes), "motion codes stay as they are"
    assert rounded.generator.compute_dtype == torch.bfloat16 and rounded.average.compute_dtype is None
    for network in ("generator", "discriminator"):
        ours, theirs = (
            torch.cat([p.grad.flatten() for p in getattr(side, network).parameters() if p.grad is not None])
            for side in (exact, rounded)
        )
        assert ours.dtype == theirs.dtype == torch.float32
        similarity = float(torch.cosine_similarity(ours, theirs, dim=0))
        assert similarity > (0.9 if discriminator == "projected" else 0.99), network
        assert not torch.equal(ours, theirs)


@pytest.mark.parametrize("discriminator", ["stylegan-v", "projected"])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_labels_in_parts(discriminator, stage, precision):
    """Labels reach every part, R1 included, in either precision."""
    config = fit_to_data(replace(tiny_training(discriminator, "none"), precision=precision), 16, 3)
    if discriminator == "stylegan-v":
        config = replace(config, stylegan_v=replace(config.stylegan_v, minibatch_std_group=1))
    frames = {"pretrain": 1, "finetune": 3}[stage]
    noise = torch.Generator().manual_seed(0)
    video = torch.randint(256, (4, frames, 3, 16, 16), dtype=torch.uint8, generator=noise)
    times = torch.tensor([[0.0, 2.0, 5.0]] * 4)[:, :frames]
    found = []
    for size in (None, 3):
        for labels in (torch.eye(3)[[0, 1, 2, 0]], torch.eye(3)[[0, 1, 2, 1]]):
            torch.manual_seed(0)
            discriminator = build_discriminator(config, MicroBatches(size))
            made = build_stage(stage, config, build_generator(config.generator), discriminator, torch.device("cpu"))
            metrics = made.step(ClipBatch(video, times, labels), times)
            found.append(torch.cat([p.grad.flatten() for p in discriminator.parameters() if p.grad is not None]))
            assert metrics["r1"] > 0
    whole, other, apart, _ = found
    tolerance = 1e-4 if precision == "float32" else 0.05
    assert (whole - apart).norm() < tolerance * whole.norm()
    assert (whole - other).norm() > 2 * tolerance * whole.norm(), "the last clip's label matters"
