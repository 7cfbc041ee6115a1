"""Triton's samples at displaced taps: values by its interpreter, against `gathered`, and what compiles for GPUs."""

import math

import pytest
import torch

from gendef.kernels.deformable import gathered

KERNELS = {"_forward": "FORWARD", "_map_gradient": "MAP_GRADIENT", "_place_gradient": "PLACE_GRADIENT"}
FLOATS = ("y", "x_position", "y_grad", "x_position_grad", "table_grad")
NUMBERS = ("pairs", "taps", "places", "height", "width", "channels")


@pytest.fixture
def module(interpreted):
    return interpreted("gendef.kernels.triton.deformable")


def some_inputs(channels=5, taps=9, dtype=torch.float32):
    """Two maps of 5x6 and positions for 4x3 places: inside, at the very edges, and outside."""
    torch.manual_seed(0)
    x, masks = torch.randn(2, channels, 5, 6), torch.rand(2, taps, 4, 3)
    y, x_position = torch.rand(2, taps, 4, 3) * 9 - 2, torch.rand(2, taps, 4, 3) * 10 - 2
    y[0, 0, 0], x_position[0, 0, 1] = torch.tensor([-1.0, 0.0, 5.0]), torch.tensor([-1.0, 5.0, 6.0])
    y[1, 0, :3], x_position[1, 0, :3] = torch.arange(3.0)[:, None] * 2, torch.tensor([0.0, 2.5, 5.0])
    return x.to(dtype), y, x_position, masks.to(dtype)


def results(sample, inputs, seed=None):
    """The value and the gradients of those inputs that want one; of all, if none does."""
    if not any(values.requires_grad for values in inputs):
        inputs = [values.detach().requires_grad_() for values in inputs]
    value = sample(*inputs)
    seed = torch.linspace(-1, 1, value.numel()).view(value.shape) if seed is None else seed
    wanted = [values for values in inputs if values.requires_grad]
    return value.detach(), *torch.autograd.grad(value, wanted, seed.to(value.dtype))


def expected(inputs, seed=None):
    return results(gathered, [values.detach().double() for values in inputs], seed)


def assert_close(ours, theirs, atol=1e-5, rtol=0.0):
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.double(), other, atol=atol, rtol=rtol)


@pytest.mark.parametrize("taps", [1, 9])
@pytest.mark.parametrize("channels", [3, 20, 70])
def test_values_and_gradients_equal_those_of_gathered(module, channels, taps):
    inputs = some_inputs(channels, taps)
    ours = results(module.sampled, inputs)
    assert_close(ours, expected(inputs))
    assert ours[0].shape == (2, 12, taps * channels)
    assert ours[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_of_16_bits_are_rounded_once(module, dtype):
    inputs = some_inputs(20, dtype=dtype)
    seed = torch.randn(2, 12, 180).to(dtype)
    ours = results(module.sampled, inputs, seed)
    assert [values.dtype for values in ours] == [dtype, dtype, torch.float32, torch.float32, dtype]
    assert_close(ours, expected(inputs, seed), rtol=torch.finfo(dtype).eps)


def test_every_value_is_written(module, monkeypatch):
    inputs = some_inputs(70)
    theirs = expected(inputs)
    new_empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *args, **names: new_empty(*args, **names).fill_(math.nan))
    monkeypatch.setattr(torch, "empty_like", lambda values: torch.full_like(values, math.nan))
    assert_close(results(module.sampled, inputs), theirs)


def test_nothing_is_read_before_and_after_the_map(module):
    x, *where = some_inputs()
    memory = torch.full((4, 5, 6, 5), math.nan)
    memory[1:3] = x.permute(0, 2, 3, 1)
    inside = memory[1:3].permute(0, 3, 1, 2)
    assert_close(results(module.sampled, [inside, *where]), expected([x, *where]))


@pytest.mark.parametrize("far", [1e9, -1e9, 3e38, 2.0**31, -(2.0**31), 7.0, math.inf, -math.inf, math.nan])
def test_far_outside_there_is_nothing(module, far):
    x, y, x_position, masks = some_inputs()
    y[0, 4], x_position[1, 5] = far, far
    kept = torch.ones_like(y)
    kept[0, 4], kept[1, 5] = 0, 0
    ours = results(module.sampled, (x, y, x_position, masks))
    away = y.masked_fill(kept == 0, -9), x_position.masked_fill(kept == 0, -9)
    assert_close(ours, expected((x, *away, masks)))
    assert not ours[0].view(2, 12, 9, 5)[0, :, 4].any()
    assert not any(grad[0, 4].any() or grad[1, 5].any() for grad in ours[2:])


def test_memory_in_any_order(module):
    x, y, x_position, masks = some_inputs()
    seed = torch.randn(45, 12, 2).permute(2, 1, 0)
    theirs = expected((x, y, x_position, masks), seed)
    pairs = torch.stack((y, x_position), dim=2)
    last = x.contiguous(memory_format=torch.channels_last)
    for own in (last, x.repeat_interleave(2, dim=3)[..., ::2], x.transpose(2, 3).contiguous().transpose(2, 3)):
        inputs = own, pairs[:, :, 0], pairs[:, :, 1], masks.transpose(0, 1).contiguous().transpose(0, 1)
        assert_close(results(module.sampled, inputs, seed), theirs)


def test_a_gradient_that_is_the_same_everywhere(module):
    inputs = some_inputs()
    seed = torch.ones(()).expand(2, 12, 45)
    assert_close(results(module.sampled, inputs, seed), expected(inputs, seed))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (3,), (1, 3), (0, 2)])
def test_only_wanted_gradients_are_computed(module, monkeypatch, wanted):
    launched = []
    launch = module._Sizes.launch

    def recorded(sizes, kernel, *args, **constants):
        launched.append(kernel)
        launch(sizes, kernel, *args, **constants)

    monkeypatch.setattr(module._Sizes, "launch", recorded)
    inputs = some_inputs()
    value, *grads = expected(inputs)
    ours = results(module.sampled, [t.requires_grad_(index in wanted) for index, t in enumerate(inputs)])
    assert_close(ours, [value, *(grads[index] for index in wanted)])
    gradients = [module._map_gradient] * (0 in wanted) + [module._place_gradient] * (wanted != (0,))
    assert launched == [module._forward, *gradients]


def test_a_second_derivative_is_refused(module):
    inputs = [values.requires_grad_() for values in some_inputs()]
    (grad,) = torch.autograd.grad(module.sampled(*inputs).square().sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_inputs_that_do_not_fit_are_refused(module):
    x, y, x_position, masks = some_inputs()
    with pytest.raises(TypeError, match=r"got torch\.float64"):
        module.sampled(x.double(), y, x_position, masks)
    for inputs in ((x[:1], y, x_position, masks), (x, y[:, :4], x_position, masks), (x, y, x_position, masks[..., :1])):
        with pytest.raises(ValueError, match="are needed, got"):
            module.sampled(*inputs)


@pytest.mark.slow
@pytest.mark.parametrize("generation", [80, 90])
@pytest.mark.parametrize(
    ("dtype", "channels", "taps"), [("bf16", 576, 9), ("fp32", 576, 9), ("fp32", 161, 9), ("bf16", 16, 1)]
)
@pytest.mark.parametrize("name", list(KERNELS))
def test_kernels_compile_for_gpus(machine_code, name, dtype, channels, taps, generation):
    from gendef.kernels.triton import deformable as module

    aligned, adds = channels % 16 == 0, name == "_map_gradient"
    sizes = module._Sizes(taps * 1024, taps, 1024, 32, 32, channels)
    constants = sizes.tile(getattr(module, KERNELS[name])) | (
        {"ADJACENT": 4 if generation >= 90 else 1} if adds else {}
    )
    if taps == 1:
        constants["taps"] = 1  # as Triton takes every number that is 1
    kernel = getattr(module, name)
    types = (
        dict.fromkeys(kernel.arg_names, f"*{dtype}") | dict.fromkeys(NUMBERS, "i32") | dict.fromkeys(FLOATS, "*fp32")
    )
    code = machine_code(kernel, generation, types, constants, divisible=["channels"] if aligned else [])
    assert ("ld.global.v4" in code.ptx) == (aligned and not (adds and (dtype == "bf16" or generation < 90)))
    # Neighbours are added side by side, and nothing is exchanged between threads for that.
    assert ("add.v4.f32" in code.ptx) == (adds and aligned and generation >= 90)
    assert not (adds and code.shared)
    assert code.stack == code.local == 0
