"""Training steps in bfloat16: gradients of the same direction, positions and averages in float32."""

from dataclasses import replace

import pytest
import torch

from gendef.training.loop import RunOptions, Trainer

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
def test_gradients(discriminator, stage, archive_path, tmp_path):
    codes, judged = [], set()

    def watch(made):
        made.generator.motion_encoder.register_forward_hook(lambda _, __, result: codes.append(result.detach()))
        for module in made.critic.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda _, __, result: judged.add(result.dtype))

    exact = step("float32", discriminator, stage, archive_path, tmp_path, watch)
    assert judged <= {torch.float32}
    rounded = step("bfloat16", discriminator, stage, archive_path, tmp_path, watch)
    assert (torch.bfloat16 in judged) == (discriminator == "projected"), "the paper's has no Conv2d modules"
    if stage == "finetune":
        assert torch.equal(*codes), "motion codes stay as they are"
    assert rounded.generator.compute_dtype == torch.bfloat16 and rounded.average.compute_dtype is None
    for network in ("generator", "critic"):
        ours, theirs = (
            torch.cat([p.grad.flatten() for p in getattr(side, network).parameters() if p.grad is not None])
            for side in (exact, rounded)
        )
        assert ours.dtype == theirs.dtype == torch.float32
        similarity = float(torch.cosine_similarity(ours, theirs, dim=0))
        assert similarity > (0.9 if discriminator == "projected" else 0.99), network
        assert not torch.equal(ours, theirs)
