"""bfloat16 feature maps: close to float32, with everything that is a position or a scale untouched."""

from dataclasses import replace

import pytest
import torch
from tests.conftest import tiny_config

import gendef
from gendef.errors import ConfigError
from gendef.networks.baselines import build_generator
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.generator import Generator
from gendef.networks.modulated import ModulatedConv2d
from gendef.runtime.precision import autocast, compute_dtype, name_of

CPU = torch.device("cpu")


def test_names(monkeypatch):
    assert compute_dtype("float32", torch.device("cuda")) is None
    for supported in (False, True):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, found=supported: found)
        assert (compute_dtype("auto", torch.device("cuda")) == torch.bfloat16) == supported
    assert compute_dtype("auto", torch.device("mps")) is None
    # AVX-512's instructions for bfloat16 alone are slower than float32.
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    for amx in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda found=amx: found, raising=False)
        assert (compute_dtype("auto", CPU) == torch.bfloat16) == amx
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")  # unknown to older versions of torch
    assert compute_dtype("auto", CPU) is None
    assert compute_dtype("bfloat16", CPU) == torch.bfloat16
    assert (name_of(torch.bfloat16), name_of(None)) == ("bfloat16", "float32")
    with pytest.raises(ConfigError, match="precision must be auto, float32, bfloat16, float16, got 'half'"):
        compute_dtype("half", CPU)
    with autocast(None, CPU):
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("kind", ["stylegan2", "stylegan3"])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_generator(kind, dtype, rounding, monkeypatch):
    """Feature maps have few bits, motion codes and what is returned have 24."""
    torch.manual_seed(0)
    config = tiny_config()
    if kind == "stylegan3":
        canonical = CanonicalConfig(channel_base=1024, channel_max=32, mtm_sizes=(36,))
        deformation = replace(config.deformation, mtm_resolutions=(4, 8))
        config = replace(config, resolution=32, canonical=canonical, deformation=deformation)
    generator = Generator(config).eval()
    noise = torch.randn(2, generator.motion_noise_length(8.0), generator.motion_dim)
    times = torch.tensor([[0.0, 2.5, 8.0], [1.0, 2.0, 7.0]])
    inputs = (torch.randn(2, 16), torch.randn(2, 16), noise, times)
    types, codes, convolve = set(), [], ModulatedConv2d.convolve

    def watched(layer, x, ready, bias=None, **after):
        types.add((layer.kernel_size, x.dtype, ready.weight.dtype))
        return convolve(layer, x, ready, bias, **after)

    monkeypatch.setattr(ModulatedConv2d, "convolve", watched)
    generator.motion_encoder.register_forward_hook(lambda _, __, result: codes.append(result))
    with torch.no_grad():
        exact = generator(*inputs)
        assert types == {(kernel, torch.float32, torch.float32) for kernel in (1, 3)}
        types.clear()
        generator.compute_dtype = dtype
        rounded = generator(*inputs)
    assert types == {(1, torch.float32, torch.float32), (3, dtype, dtype)}, "the output layers stay as they are"
    assert torch.equal(*codes)
    for name in ("canonical", "deformation", "video"):
        one, other = getattr(exact, name), getattr(rounded, name)
        assert other.dtype == torch.float32
        difference = float((one - other).norm() / one.norm())
        assert rounding / 20 < difference < 12 * rounding, (name, difference)


@pytest.mark.parametrize("model", ["stylegan-v", "stylesv-mtm", "mocogan"])
def test_rivals(model):
    torch.manual_seed(0)
    generator = build_generator(tiny_config(model=model)).eval()
    noise = torch.randn(1, generator.motion_noise_length(4.0), generator.motion_dim)
    with torch.no_grad():
        exact = generator(z := torch.randn(1, 16), noise, times := torch.tensor([[0.0, 4.0]]))
        generator.compute_dtype = torch.bfloat16
        rounded = generator(z, noise, times)
    assert rounded.dtype == torch.float32
    assert 1e-5 < float((exact - rounded).norm() / exact.norm()) < 0.03


def test_models(model_folder):
    exact = gendef.GenDeF.from_pretrained(model_folder).sample(1, num_frames=4)
    rounded = gendef.GenDeF.from_pretrained(model_folder, precision="bfloat16").sample(1, num_frames=4)
    assert (exact.info["precision"], rounded.info["precision"]) == ("float32", "bfloat16")
    assert 0 < float((exact.canonical - rounded.canonical).abs().max()) < 0.05
    with pytest.raises(ConfigError, match="got 'half'"):
        gendef.GenDeF.from_pretrained(model_folder, precision="half")
