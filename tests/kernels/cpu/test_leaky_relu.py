"""Leaky ReLU and clamp in place: values, gradients of two orders, layouts, threads, and torch's operators instead."""

import pytest
import torch
import torch.nn.functional as F

from gendef.kernels.cpu import leaky_relu as activation
from gendef.kernels.cpu.leaky_relu import activate_

SHAPES = [(2, 3, 4, 5), (1, 16, 8, 8), (3, 7, 37, 41)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(params=["loop", "torch"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "MIN_VALUES", 0 if request.param == "loop" else 2**60)
    monkeypatch.setattr("gendef.kernels.cpu.threads.LEAST_OPERATIONS", 0)


def _random(*shape: int, layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 2
    return x.contiguous(memory_format=layout)


def _expected(x: torch.Tensor, slope: float, clamp: float | None) -> torch.Tensor:
    y = torch.where(x > 0, x, slope * x)
    return y if clamp is None else y.clamp(-clamp, clamp)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("slope", "clamp"), [(0.2, None), (0.2, 1.0), (1.0, 0.5), (1.0, None)])
def test_values_and_gradients(
    layout: torch.memory_format, shape: tuple[int, ...], slope: float, clamp: float | None
) -> None:
    x, grad = _random(*shape, layout=layout), torch.randn(*shape)
    with torch.no_grad():
        y = x.clone()
        assert activate_(y, slope, clamp) is y
    assert torch.equal(y, _expected(x, slope, clamp))
    found, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = activate_(found * 1, slope, clamp)
    assert torch.equal(y, _expected(x, slope, clamp))
    y.backward(grad)
    _expected(other, slope, clamp).backward(grad)
    assert found.grad is not None and other.grad is not None
    assert torch.equal(found.grad, other.grad)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_gradients(layout: torch.memory_format) -> None:
    weight = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(1))
    penalties = []
    for function in (activate_, _expected):
        x, own = _random(2, 5, 9, 8, layout=layout).requires_grad_(), weight.clone().requires_grad_()
        y = function(F.conv2d(x, own), 0.2, 1.5)
        (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (of_weight,) = torch.autograd.grad(slope.square().sum(), own)
        penalties.append((slope, of_weight))
    for ours, theirs in zip(*penalties, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_is_not_finite() -> None:
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, -1.0] * 40)
    with torch.no_grad():
        y = activate_(x.clone(), 0.2, 3.0)
    assert y[0].isnan() and y[1:4].tolist() == [3.0, -3.0, pytest.approx(-0.2)]
    with torch.no_grad():
        y = activate_(x.clone(), 0.2, None)
    assert y[0].isnan() and y[1:3].tolist() == [torch.inf, -torch.inf]


@pytest.mark.parametrize(("clamp", "passed"), [(None, [0.2, 1.0, 0.2, 0.2, 1.0]), (3.0, [0.2, 0.0, 0.0, 0.2, 1.0])])
def test_gradients_of_what_is_not_finite(clamp: float | None, passed: list[float]) -> None:
    values = [torch.nan, torch.inf, -torch.inf, -1.0, 1.0] * 7  # no whole number of vectors
    x = torch.tensor(values, requires_grad=True)
    activate_(x * 1, 0.2, clamp).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor(passed * 7))


def test_views_and_other_types() -> None:
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: activate_((x * 1).unflatten(1, (2, 3)).permute(0, 2, 1), 0.2, 1.0), (x,))
    assert torch.autograd.gradcheck(lambda x: activate_(x * 1, 0.2, 1.0), (x,))
    half = torch.randn(4, 6).bfloat16()
    assert torch.equal(activate_(half.clone(), 0.25, 1.0), F.leaky_relu(half, 0.25).clamp(-1, 1))
    given = half.clone().requires_grad_()
    activate_(given * 1, 0.25, 1.0).sum().backward()
    expected = torch.where(half > 0, 1.0, 0.25) * (F.leaky_relu(half, 0.25).abs() < 1)
    assert given.grad is not None and torch.equal(given.grad.float(), expected)
