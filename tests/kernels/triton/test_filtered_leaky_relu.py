"""The filtered leaky ReLU's kernels: values and gradients by Triton's interpreter, machine code by its compiler.

None of this runs on a GPU.
"""

import pytest
import torch
import torch.nn.functional as F

from gendef.kernels import autotune as choice
from gendef.networks.resample import FilteredLeakyReLU, Filters, design_lowpass

NAME = "gendef.kernels.triton.filtered_leaky_relu"
SLOPE, GAIN = 0.2, 1.4


@pytest.fixture
def kernels(interpreted):
    return interpreted(NAME)


def _layer(size: int, up: int = 2, down: int = 2, clamp: float | None = 1.0) -> FilteredLeakyReLU:
    rising = design_lowpass(6 * up, 6.0, 4.0, 64.0)
    falling = design_lowpass(6 * down if down > 1 else 1, 6.0, 4.0, 64.0)
    filters = Filters(rising, falling, up, down, 3 * up, 3 * up - 1)
    return FilteredLeakyReLU(size, filters, gain=GAIN, slope=SLOPE, clamp=clamp)


def _exact(layer: FilteredLeakyReLU, x: torch.Tensor, seed: torch.Tensor | None = None):
    """Value and gradient in float64, by dense products; the seed is random where none is given."""
    rise, fall = layer.up_matrix.double(), layer.down_matrix.double()
    x = x.detach().double().requires_grad_()
    middle = F.leaky_relu(rise @ x @ rise.t(), SLOPE) * GAIN
    if layer.clamp is not None:
        middle = middle.clamp(-layer.clamp, layer.clamp)
    value = fall @ middle @ fall.t()
    seed = torch.randn_like(value) if seed is None else seed
    return value.detach(), seed, torch.autograd.grad(value, x, seed.double())[0]


def _filter(kernels, layer: FilteredLeakyReLU, side: int):
    return kernels.TritonFilter(layer.up_matrix, layer.down_matrix, layer.gain, layer.slope, layer.clamp, side)


def _compare_gradients(found: torch.Tensor, exact: torch.Tensor) -> None:
    """Where the leaky ReLU or the clamp has a kink, rounding decides about the gradient."""
    off = (found.double() - exact).abs()
    assert off.median() < 1e-6 and (off > 1e-5).double().mean() < 0.01


@pytest.mark.parametrize(("size", "up", "down"), [(38, 2, 2), (17, 4, 2), (16, 2, 1), (7, 2, 2), (21, 1, 2)])
@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("side", [32, 64])
def test_value_and_gradient_are_those_of_dense_products(kernels, size, up, down, clamp, side):
    torch.manual_seed(0)
    layer, x = _layer(size, up, down, clamp), torch.randn(2, 3, size, size)
    value, seed, gradient = _exact(layer, x)
    own = _filter(kernels, layer, side)
    torch.testing.assert_close(own.value(x).double(), value, rtol=0, atol=2e-6)
    _compare_gradients(own.gradient(x, seed.float()), gradient)


def test_more_maps_than_a_program_makes_and_any_layout_in_memory(kernels):
    torch.manual_seed(0)
    layer = _layer(12)
    x = torch.randn(3, 2 * kernels.PLANES - 1, 12, 12).contiguous(memory_format=torch.channels_last)
    value, seed, gradient = _exact(layer, x)
    own = _filter(kernels, layer, 32)
    torch.testing.assert_close(own.value(x).double(), value, rtol=0, atol=2e-6)
    _compare_gradients(own.gradient(x, seed.float().transpose(2, 3).contiguous().transpose(2, 3)), gradient)


@pytest.mark.parametrize(("dtype", "share"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_16_bits_lose_no_more_than_their_digits(kernels, dtype, share):
    torch.manual_seed(0)
    layer, x = _layer(20), torch.randn(1, 2, 20, 20).to(dtype)
    value, seed, gradient = _exact(layer, x)
    own = _filter(kernels, layer, 32)
    found, back = own.value(x), own.gradient(x, seed.to(dtype))
    assert found.dtype == back.dtype == dtype
    assert (found.double() - value).norm() < share * value.norm()
    assert (back.double() - _exact(layer, x, seed.to(dtype))[2]).norm() < 4 * share * gradient.norm()


def test_what_is_not_a_number_stays_so(kernels):
    layer, x = _layer(20), torch.zeros(1, 1, 20, 20)
    x[0, 0, 9, 9] = torch.nan
    found = _filter(kernels, layer, 32).value(x)
    assert found.isnan().any()


def test_maps_of_another_size_are_an_error(kernels):
    own = _filter(kernels, _layer(20), 32)
    with pytest.raises(ValueError, match="maps of 20x20 are needed, got the shape \\(1, 1, 19, 19\\)"):
        own.value(torch.zeros(1, 1, 19, 19))
    with pytest.raises(ValueError, match="maps of 15x15 are needed, got the shape"):
        own.gradient(torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 21, 21))


def test_a_tile_that_cannot_hold_the_taps_is_refused(kernels):
    falling = design_lowpass(40, 6.0, 4.0, 64.0)
    layer = FilteredLeakyReLU(30, Filters(falling, falling, 2, 2, 20, 20), gain=GAIN, slope=SLOPE, clamp=None)
    assert not _filter(kernels, layer, 32).possible and _filter(kernels, layer, 64).possible
    with pytest.raises(ValueError, match="no tile of side 32"):
        _filter(kernels, layer, 32).value(torch.zeros(1, 1, 30, 30))


def test_a_layer_takes_the_kernel_that_is_faster(kernels, monkeypatch):
    """As on a GPU, but for the interpreter and the times, which are given."""
    torch.manual_seed(0)
    given = {"products": 3.0, "Triton, tiles of 32": 1.0}
    monkeypatch.setattr(choice, "_trials", {})
    monkeypatch.setattr(choice, "_milliseconds", lambda candidate, inputs, seed: given[candidate.name])
    layer = _layer(20)
    x = torch.randn(2, 3, 20, 20, requires_grad=True)
    value, seed, gradient = _exact(layer, x)
    found = kernels.filtered_leaky_relu(x, layer.up_matrix, layer.down_matrix, GAIN, SLOPE, layer.clamp)
    assert choice.trials() == [("filtered leaky ReLU by 40 to 15, 2x3x20x20, float32", given)]
    assert type(found.grad_fn).__name__ == "_FilteredBackward"
    torch.testing.assert_close(found.double(), value, rtol=0, atol=2e-6)
    _compare_gradients(torch.autograd.grad(found, x, seed.float())[0], gradient)


SHARED = {80: 163 * 1024, 90: 227 * 1024}
"""Bytes that a program may have on the chip, by generation."""


@pytest.mark.slow
@pytest.mark.parametrize("generation", [80, 90])
@pytest.mark.parametrize(
    ("dtype", "tiles", "back_tiles"),
    [
        # Sides at the higher resolution, of x, of the value's tile or the read gradient, and of the gradient's tile.
        (torch.float32, (32, 32, 16), (32, 32, 32, 16)),
        (torch.float32, (32, 16, 16), (32, 16, 32, 16)),
        (torch.bfloat16, (32, 32, 16), (32, 32, 32, 16)),
        (torch.bfloat16, (64, 64, 32), (64, 64, 64, 32)),
        (torch.bfloat16, (64, 32, 32), (64, 32, 64, 16)),
    ],
)
def test_it_compiles_for_gpus_and_fits_them(machine_code, generation, dtype, tiles, back_tiles):
    from gendef.kernels.triton import filtered_leaky_relu as module

    assert tiles[0] in module.sides_for(dtype)
    number, precision = ("fp32", "tf32x3") if dtype == torch.float32 else ("bf16", "tf32")
    types = dict.fromkeys(("x", "y", "grad"), f"*{number}") | dict.fromkeys(("rise", "fall"), "*fp32")
    types |= {"starts": "*i32"} | dict.fromkeys(("gain", "slope", "clamp"), "fp32")
    types |= dict.fromkeys(("planes", "size", "middle", "result", "tiles", "used"), "i32")
    fixed = {"PLANES": module.PLANES, "PRECISION": precision}
    warps = module.warps_for(tiles[0])
    for kernel, sides in ((module._forward, tiles), (module._backward, back_tiles)):
        constants = dict(zip(("MIDDLE", "IN", "OUT", "SIDE"), sides, strict=False)) | fixed
        code = machine_code(kernel, generation, types, constants, warps=warps)
        assert "mma" in code.ptx and code.shared <= SHARED[generation]
        assert code.stack <= (0 if tiles[0] == 32 else 384)  # registers of the large tiles do not quite suffice
