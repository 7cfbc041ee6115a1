"""A batch in parts against the batch at once: the same values, gradients and running means, with less held."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gendef.errors import ConfigError, TrainingError
from gendef.training.micro_batch import FULL_BATCH, MicroBatches
from gendef.training.trainer import RunOptions, Trainer

from .conftest import tiny_training


class Follower(nn.Module):
    """A layer that divides by a running mean which it moves first."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3).double()
        self.register_buffer("w_avg", torch.ones((), dtype=torch.float64))

    def forward(self, x, offset=None):
        with torch.no_grad():
            self.w_avg.lerp_(x.square().mean(), 0.5)
        y = torch.tanh(self.linear(x / self.w_avg))
        return (y if offset is None else y + offset,)


def gradients(parts, x, *, follows):
    torch.manual_seed(0)
    layer = Follower()
    if not follows:
        layer.w_avg.fill_(2.0)
        layer.forward = lambda x, _: (torch.tanh(layer.linear(x / layer.w_avg)),)
    x = x.clone().requires_grad_()
    (y,) = parts.run(layer.forward, x, None, module=layer)
    (y.cos().sum()).backward()
    return y.detach(), x.grad, layer.linear.weight.grad, layer.w_avg


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_values_and_gradients(size):
    x = torch.randn(5, 4, dtype=torch.float64)
    expected = gradients(FULL_BATCH, x, follows=False)
    for ours, theirs in zip(gradients(MicroBatches(size), x, follows=False), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_gradients_of_gradients():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1)).double()
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    penalties = []
    for parts in (FULL_BATCH, MicroBatches(4)):
        layer.zero_grad()
        (y,) = parts.run(lambda x: (layer(x),), x)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        slope.square().sum().backward()
        penalties.append([p.grad.clone() for p in layer.parameters() if p.grad is not None])
    assert len(penalties[0]) == 3
    for whole, apart in zip(*penalties, strict=True):
        torch.testing.assert_close(whole, apart, rtol=1e-12, atol=1e-14)


def test_running_means():
    """Every part divides by its own half-way mean, also when it is computed again; what stays is the mean of all."""
    x = torch.randn(5, 4, dtype=torch.float64)
    y, by_x, by_weight, mean = gradients(MicroBatches(2), x, follows=True)
    pieces, weights = x.split(2), (2 / 5, 2 / 5, 1 / 5)
    alone = [gradients(FULL_BATCH, piece, follows=True) for piece in pieces]
    torch.testing.assert_close(y, torch.cat([piece[0] for piece in alone]))
    torch.testing.assert_close(by_x, torch.cat([piece[1] for piece in alone]))
    torch.testing.assert_close(by_weight, sum(piece[2] for piece in alone))
    torch.testing.assert_close(mean, sum(w * piece[3] for w, piece in zip(weights, alone, strict=True)))


def test_what_is_held():
    """Of a part, no more than its inputs wait for the gradient."""
    layer = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(8)))
    x = torch.randn(64, 16, requires_grad=True)

    def held(parts):
        kept = {}

        def pack(tensor):
            kept[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            (y,) = parts.run(lambda x: (layer(x),), x)
        y.sum().backward()
        return sum(kept.values())

    weights = sum(p.numel() for p in layer.parameters())
    assert held(FULL_BATCH) > 8 * x.numel()
    assert held(MicroBatches(8)) <= x.numel() + weights


def test_size_is_checked():
    with pytest.raises(ConfigError, match="--micro-batch must be at least 1, got 0"):
        MicroBatches(0)


def configuration(kind):
    """A batch of 6; no minibatch standard deviation, which R1 takes within a part."""
    if kind == "projected":
        config = tiny_training("projected", "diffaug", image_weight=0.5, canonical_weight=0.5, least_speed=0.5)
    else:
        config = tiny_training(least_speed=0.5)
        config = replace(config, stylegan_v=replace(config.stylegan_v, minibatch_std_group=1))
    stages = {name: replace(getattr(config, name), batch_size=6, images=18) for name in ("pretrain", "finetune")}
    return replace(config, **stages)


@pytest.mark.parametrize("kind", ["paper", "projected"])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_gradients_of_a_step(kind, stage, archive_path, tmp_path):
    """All gradients of a step with R1, those of frozen features and of the field's losses included."""

    def step(micro_batch):
        options = RunOptions(tmp_path, (stage,), device="cpu", quiet=True, micro_batch=micro_batch)
        trainer = Trainer(configuration(kind), archive_path, options)
        torch.manual_seed(0)
        made = trainer.build(stage)
        stream = trainer.stream(made)
        metrics = made.step(next(stream.iterate(0)), stream.sample_times(0))
        assert metrics["r1"] > 0
        found = {f"discriminator.{name}": p.grad for name, p in made.discriminator.named_parameters()}
        found |= {name: p.grad for name, p in made.generator.named_parameters()}
        found |= {name: buffer for name, buffer in made.generator.named_buffers() if name.endswith("w_avg")}
        return {name: value for name, value in found.items() if value is not None}, metrics

    (whole, metrics), (apart, others) = step(None), step(4)
    assert whole.keys() == apart.keys()
    assert sum(bool(value.any()) for value in whole.values()) > 30
    scale = max(float(value.norm()) for value in whole.values())
    for name, value in whole.items():
        assert (apart[name] - value).norm() <= 1e-4 * value.norm() + 1e-7 * scale, name
    for name, value in metrics.items():
        assert float(others[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:115] . DefaultCPUAllocator: can't allocate memory"),
    ],
)
@pytest.mark.parametrize(
    ("micro_batch", "message"), [(None, "--micro-batch 3 "), (4, "--micro-batch 2 "), (1, "one image")]
)
def test_out_of_memory(micro_batch, message, error, archive_path, tmp_path, monkeypatch):
    options = RunOptions(tmp_path / "run", device="cpu", quiet=True, micro_batch=micro_batch)
    trainer = Trainer(configuration("paper"), archive_path, options)

    def fail(*_):
        raise error

    monkeypatch.setattr("gendef.training.stages.Pretrain.step", fail)
    with pytest.raises(TrainingError, match=message):
        trainer.run()
