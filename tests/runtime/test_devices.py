"""Where tensors are when the networks are on a GPU, on a machine that has none.

torch's fake tensors have a device and a shape but no values, and an operator whose inputs are on two devices is an
error, as on a GPU. The device "meta" stands for the GPU, which torch for processors alone can hold too.
"""

import contextlib
import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from gendef.bench.sampling import SampledVideo
from gendef.data.clips import ClipBatch
from gendef.errors import ConfigError
from gendef.inversion.objective import Objective
from gendef.inversion.stages import STAGES
from gendef.inversion.target import Target
from gendef.kernels.registry import plain_forms
from gendef.networks.baselines import build_generator
from gendef.networks.generator import Generator
from gendef.runtime.devices import choose_device
from gendef.training.discriminators import build_discriminator
from gendef.training.presets import as_model, preset
from gendef.training.stages import build_stage

GPU = torch.device("meta")
FRAMES = 3
NUMBERS = {"__float__": float, "__int__": int, "__bool__": bool, "item": float}


class Moves(TorchFunctionMode):
    """Moves tensors between devices, which fake ones of this kind cannot, and counts what waits for a GPU: reading a
    number of its, copying from it, and copying to it before torch is told that it need not wait."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number, self.waits = number, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in NUMBERS:
            self.waits += args[0].device == GPU
            return NUMBERS[name](self.number)
        if name in ("to", "cpu"):
            x = args[0]
            waiting = not kwargs.pop("non_blocking", False)
            result = _moved(x, [*args[1:], *kwargs.values(), *(["cpu"] if name == "cpu" else [])])
            self.waits += result.device != x.device and (waiting or x.device == GPU)
            return result
        result = func(*args, **kwargs)
        self.waits += name in ("tensor", "as_tensor") and result.device == GPU
        return result


def _moved(x, where):
    device, dtype = x.device, x.dtype
    for item in where:
        if isinstance(item, torch.Tensor):
            device, dtype = item.device, item.dtype
        elif isinstance(item, torch.dtype):
            dtype = item
        elif isinstance(item, (str, torch.device)):
            device = torch.device(item)
    if device.type == x.device.type:
        return x.type(dtype) if x.dtype != dtype else x
    assert not (x.requires_grad and torch.is_grad_enabled()), "gradients would have to change the device"
    return torch.empty_strided(x.size(), x.stride(), dtype=dtype, device=device)


def _module_to(self, device):
    for module in self.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(_moved(value.detach(), [device]), value.requires_grad)
        for name, value in module._buffers.items():
            module._buffers[name] = None if value is None else _moved(value, [device])
        for frozen in getattr(module, "_features", ()):
            _module_to(frozen, device)
    return self


@pytest.fixture
def pretended(monkeypatch):
    """A context in which modules and tensors can be on the GPU; its value counts what waits for it."""
    monkeypatch.setattr(nn.Module, "to", _module_to)
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, fused=None, **options: adam(*args, **options))
    monkeypatch.setattr("torch.autocast", lambda *args, **options: contextlib.nullcontext())

    @contextlib.contextmanager
    def pretending(number=0.3):
        with FakeTensorMode(allow_non_fake_inputs=True), Moves(number) as moves:
            yield moves

    return pretending


def _config(name, model="gendef"):
    """A preset with narrow networks."""
    config = as_model(preset(name), model)
    generator = replace(
        config.generator,
        canonical=replace(config.generator.canonical, channel_base=1024, channel_max=16),
        deformation=replace(config.generator.deformation, channel_base=1024, channel_max=16),
    )
    discriminator = replace(config.stylegan_v, channel_base=1024, channel_max=16)
    return replace(config, generator=generator, stylegan_v=discriminator, precision="float32")


@pytest.mark.parametrize(
    ("cuda", "apple", "chosen"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_is_a_gpu_where_there_is_one(monkeypatch, cuda, apple, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    assert choose_device("auto") == torch.device(chosen)


@pytest.mark.parametrize("name", ["abacus", "cpu:x"])
def test_a_device_that_does_not_exist_is_an_error_that_names_it(name):
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=f"device '{name}' cannot be used here"):
        choose_device(name)


def test_the_pretended_gpu_notices_tensors_that_were_left_behind(pretended):
    with pretended() as moves:
        x = torch.zeros(3).to(GPU)
        assert (x + 1).device == (x * torch.tensor(2.0)).device == GPU  # a single number may be anywhere
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.zeros(3)
        assert moves.waits == 1 and float(x.sum()) == 0.3 and moves.waits == 2


@pytest.mark.parametrize("name", ["mini64", "sky256"])
@pytest.mark.parametrize(
    ("model", "stage"),
    [
        ("gendef", "pretrain"),
        ("gendef", "finetune"),
        ("stylesv-mtm", "pretrain"),
        ("stylesv-mtm", "finetune"),
        ("stylegan-v", "finetune"),
        ("mocogan", "finetune"),
    ],
)
def test_a_training_step(pretended, monkeypatch, name, model, stage):
    # It reads random numbers that were drawn on the processor, which have no values here.
    monkeypatch.setattr("gendef.training.diffaug._translate", lambda video, generator, group: video)
    config = _config(name, model)
    generator, discriminator = build_generator(config.generator), build_discriminator(config)
    with pretended() as moves:
        made = build_stage(stage, config, generator, discriminator, GPU)
        made.images_seen = getattr(made.settings, "warmup", 0)
        count, side = made.num_frames, config.generator.resolution
        batch = ClipBatch(torch.zeros(2, count, 3, side, side, dtype=torch.uint8), torch.zeros(2, count), None)
        metrics = made.step(batch, torch.zeros(2, count))
        assert {value.device for value in metrics.values()} <= {GPU, torch.device("cpu")}
        assert metrics["loss_g" if stage == "pretrain" else "loss_g_video"].device == GPU
        # ADA's probability is read where it augments; nothing else makes the processor wait for the GPU.
        assert moves.waits == (2 if made.ada is not None else 0)


@pytest.mark.parametrize("name", ["mini64", "sky256"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_sampling_waits_for_nothing(pretended, name, dtype):
    generator = Generator(_config(name).generator).eval()
    generator.compute_dtype = dtype
    with pretended() as moves, torch.no_grad():
        video = SampledVideo(generator.to(GPU), FRAMES, GPU)
        for path in (plain_forms, contextlib.nullcontext):
            moves.waits = 0
            with path():
                content = video.content()
                fields = video.fields(video.motion(content), FRAMES)
                shown = generator.render(content, fields[None])
            assert fields.device == shown.device == GPU and fields.dtype == torch.float32
        assert moves.waits == 0


@pytest.mark.parametrize("kind", STAGES)
def test_a_step_of_inversion(pretended, kind):
    generator = Generator(_config("mini64").generator).eval()
    side, count = generator.resolution, 3
    fields = torch.zeros(count, side, side, 2)
    target = Target(
        torch.zeros(count, 3, side, side), torch.zeros(3, side, side), fields, fields[..., 0], 0, 25.0, [], []
    )
    with pretended():
        objective = Objective(generator.to(GPU), target, 0)
        objective.spread = torch.ones(1, generator.config.w_dim, device=GPU)
        stage = kind(objective, copy.deepcopy(generator))
        latents = objective.with_nearest_motion(torch.zeros(1, generator.config.w_dim, device=GPU))
        latents = stage.prepare(latents, resumed=False)
        for value in stage.variables(latents):
            value.requires_grad_(True)
        loss, _ = stage.loss(latents, 0)
        assert loss.device == GPU
        loss.backward()
