"""On a CUDA GPU: the kernels' values, both generators, their training and compiled fields, against the CPU."""

import importlib
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gendef.data.clips import ClipBatch
from gendef.kernels.deformable import gathered
from gendef.model.compiled_fields import CompiledFields
from gendef.networks.canonical_config import CanonicalConfig
from gendef.networks.generator import Generator
from gendef.networks.generator_config import DeformationConfig, GeneratorConfig
from gendef.networks.resample import FilteredLeakyReLU
from gendef.training.discriminators import build_discriminator
from gendef.training.micro_batch import MicroBatches
from gendef.training.presets import preset
from gendef.training.stages import build_stage

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

GPU = torch.device("cuda")


def _config(kind="stylegan3"):
    return GeneratorConfig(
        resolution=64,
        canonical=CanonicalConfig(kind=kind, channel_base=2048, channel_max=64, mtm_sizes=(36,)),
        deformation=DeformationConfig(channel_base=1024, channel_max=64, init="xavier", mtm_resolutions=(8, 16)),
    )


def _share(found, expected):
    """The difference's norm as a share of the expected one's."""
    return float((found.double().cpu() - expected.double().cpu()).norm() / expected.double().cpu().norm())


def _layers():
    """Filtered leaky ReLUs of all sorts."""
    torch.manual_seed(0)
    modules = Generator(_config()).canonical.modules()
    return [module for module in modules if isinstance(module, FilteredLeakyReLU) and module.slope != 1]


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("side", [32, 64])
def test_the_filtered_leaky_relu_by_kernels(dtype, most, side):
    kernels = importlib.import_module("gendef.kernels.triton.filtered_leaky_relu")
    if side not in kernels.sides_for(dtype):
        pytest.skip("such tiles are not tried")
    for layer in _layers():
        x = torch.randn(2, 19, *(layer.up_matrix.shape[1],) * 2).to(dtype)
        exact = x.double().requires_grad_()
        rise, fall = layer.up_matrix.double(), layer.down_matrix.double()
        middle = F.leaky_relu(rise @ exact @ rise.t(), layer.slope) * layer.gain
        value = fall @ middle.clamp(-0.5, 0.5) @ fall.t()
        seed = torch.randn_like(value).to(dtype)
        (gradient,) = torch.autograd.grad(value, exact, seed.double())
        layer.to(GPU)
        own = kernels.TritonFilter(layer.up_matrix, layer.down_matrix, layer.gain, layer.slope, 0.5, side)
        assert _share(own.value(x.to(GPU)), value) < most
        # Where the leaky ReLU or the clamp has a kink, rounding decides about the gradient.
        assert _share(own.gradient(x.to(GPU), seed.to(GPU)), gradient) < max(10 * most, 1e-2)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)])
def test_samples_at_displaced_taps_by_kernels(dtype, most):
    kernels = importlib.import_module("gendef.kernels.triton.deformable")
    torch.manual_seed(0)
    for channels, side, taps in ((576, 32, 9), (161, 36, 9), (64, 16, 1)):
        x, masks = torch.randn(3, channels, side, side).to(dtype), torch.rand(3, taps, side, side).to(dtype)
        y, x_position = (torch.rand(3, taps, side, side) * (side + 4) - 2 for _ in range(2))
        exact = [value.double().requires_grad_() for value in (x, y, x_position, masks)]
        expected = gathered(*exact)
        seed = torch.randn_like(expected).to(dtype)
        own = [value.to(GPU).requires_grad_() for value in (x, y, x_position, masks)]
        found = kernels.sampled(*own)
        assert _share(found, expected) < most
        gradients = torch.autograd.grad(found, own, seed.to(GPU))
        for one, other in zip(gradients, torch.autograd.grad(expected, exact, seed.double()), strict=True):
            assert _share(one, other) < 3 * most


@pytest.mark.parametrize("kind", ["stylegan3", "stylegan2"])
def test_videos_are_those_of_the_processor(kind):
    torch.manual_seed(0)
    generator = Generator(_config(kind)).eval()
    rows = generator.motion_noise_length(20)
    inputs = [torch.randn(2, 512), torch.randn(2, 512), torch.randn(2, rows, 512)]
    times = torch.tensor([[0, 3.5, 20]] * 2)
    with torch.no_grad():
        expected = generator(*inputs, times)
        generator.to(GPU)
        found = generator(*(value.to(GPU) for value in inputs), times)
        assert _share(found.video, expected.video) < 1e-4
        assert (found.deformation.cpu() - expected.deformation).abs().max() < 1e-4
        generator.compute_dtype = torch.bfloat16
        half = generator(*(value.to(GPU) for value in inputs), times)
        assert _share(half.video, expected.video) < 0.1


def test_compiled_fields_are_the_same():
    torch.manual_seed(0)
    generator = Generator(_config()).eval().to(GPU)
    noise = torch.randn(1, generator.motion_noise_length(9), generator.motion_dim, device=GPU)
    with torch.no_grad():
        content = generator.content(torch.randn(1, 512, device=GPU))
        motion = generator.motion(content, torch.randn(1, 512, device=GPU))
        compiled = CompiledFields(generator, 4)
        for times in (torch.arange(4.0)[None], torch.tensor([[5.5, 8.0]])):
            expected = generator.deform_at(motion, noise, times)
            torch.testing.assert_close(compiled(motion, noise, times), expected, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("error:.*cannot be used here", "error:.*is not used", "error:too little memory")
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
@pytest.mark.parametrize("name", ["mini64", "sky256"])
@pytest.mark.parametrize("micro_batch", [None, 1])
def test_a_training_step_is_that_of_the_processor(stage, name, micro_batch):
    config = preset(name)
    if name == "sky256":
        discriminator = replace(config.stylegan_v, resolution=64, channel_base=1024, channel_max=16)
        config = replace(config, generator=_config(), stylegan_v=discriminator)
    config = replace(config, precision="float32")
    metrics = []
    for device in (torch.device("cpu"), GPU):
        torch.manual_seed(0)
        made = build_stage(
            stage, config, Generator(config.generator), build_discriminator(config, MicroBatches(micro_batch)), device
        )
        made.images_seen = getattr(made.settings, "warmup", 0)
        video = torch.randint(256, (2, made.num_frames, 3, 64, 64), dtype=torch.uint8)
        times = torch.rand(2, made.num_frames).mul(20).cumsum(dim=1)
        # The second step sees what the first one's gradients did.
        metrics.append([made.step(ClipBatch(video, times, None), times) for _ in range(2)])
    for ours, expected in zip(metrics[1], metrics[0], strict=True):
        for key, value in expected.items():
            assert abs(float(ours[key]) - float(value)) < 1e-2 * max(abs(float(value)), 1), key
