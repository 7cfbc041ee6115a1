"""Ways to compute the same: tried once, the fastest that agrees is taken. Nothing is timed here, times are given."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from gendef.networks import choice
from gendef.networks.choice import Way, fastest, trials, worth_trying

X = torch.linspace(-1, 1, 12).reshape(3, 4)


@pytest.fixture
def times(monkeypatch):
    """Milliseconds by the ways' names, to be filled in; no trials of before."""
    given: dict[str, float] = {}
    monkeypatch.setattr(choice, "_trials", {})
    monkeypatch.setattr(choice, "_milliseconds", lambda way, inputs, seed: given[way.name])
    return given


def _cube(x):
    return x**3


def _other_cube(x):
    return x * x * x


def test_the_fastest_way_is_tried_once_and_kept(times):
    times.update(plain=3.0, quick=1.0, slow=5.0)
    calls = []

    def quick(x):
        calls.append(x.shape)
        return _other_cube(x)

    ways = [Way("plain", _cube), Way("quick", quick), Way("slow", _other_cube)]
    x = X.clone().requires_grad_()
    assert fastest("cube", ways, x).name == "quick"
    assert trials() == {"cube, 3x4, float32": times}
    tried = len(calls)
    times.update(plain=0.1)
    assert fastest("cube", ways, x).name == "quick" and len(calls) == tried
    # Other sizes, other types, and what needs no gradient are cases of their own, and so is another kind.
    assert fastest("cube", ways, x[:2].detach().requires_grad_()).name == "plain"
    assert fastest("other cube", ways, x).name == "plain"
    assert len(trials()) == 3


def test_the_plain_way_stays_where_it_is_fastest(times):
    times.update(plain=1.0, slow=1.1)
    assert fastest("cube", [Way("plain", _cube), Way("slow", _other_cube)], X.clone().requires_grad_()).name == "plain"


def _raises(x):
    raise RuntimeError("no such kernel\nand more")


def _wrong_value(x):
    return _cube(x) * 1.01


class _WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return _cube(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


class _GradientIsNotANumber(_WrongGradient):
    @staticmethod
    def backward(ctx, grad):
        return grad * float("nan")


def _not_a_number(x):
    return _cube(x) * float("nan")


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (_raises, r"cannot be used here \(RuntimeError: no such kernel\)"),
        (_wrong_value, "1.0e-02 off"),
        (_WrongGradient.apply, "off"),
        (_not_a_number, "nan off"),
        (_GradientIsNotANumber.apply, "off"),
    ],
)
def test_a_way_that_fails_or_does_not_agree_is_left_out_with_a_warning(times, run, why):
    times.update(plain=3.0, broken=0.5, quick=1.0)
    ways = [Way("plain", _cube), Way("broken", run), Way("quick", _other_cube)]
    with pytest.warns(UserWarning, match=f"cube: broken .*{why}"):
        assert fastest("cube", ways, X.clone().requires_grad_()).name == "quick"
    assert trials() == {"cube, 3x4, float32": {"plain": 3.0, "quick": 1.0}}


def test_errors_of_the_plain_way_are_the_callers(times):
    with pytest.raises(RuntimeError, match="no such kernel"):
        fastest("cube", [Way("plain", _raises)], X.clone().requires_grad_())
    assert not trials()


def test_a_trial_inside_a_checkpoint_leaves_its_gradient_alone(times):
    times.update(plain=3.0, quick=1.0)
    ways = [Way("plain", _cube), Way("quick", _other_cube)]

    def layer(x):
        y = torch.sin(x)
        return fastest("cube", ways, y).run(y)

    x = X.clone().requires_grad_()
    checkpoint(layer, x, use_reentrant=False, preserve_rng_state=False).sum().backward()
    assert trials()
    torch.testing.assert_close(x.grad, 3 * X.sin() ** 2 * X.cos())


def test_inputs_that_want_no_gradient_get_none_in_a_trial(times):
    times.update(plain=3.0, quick=1.0)

    def scaled(x, factor):
        assert not factor.requires_grad
        return x * factor

    factor = torch.tensor(2.0)
    assert fastest("scale", [Way("plain", scaled), Way("quick", scaled)], X.clone().requires_grad_(), factor)


def test_on_a_processor_and_without_gradients_nothing_is_tried(monkeypatch):
    x = X.clone().requires_grad_()
    assert not worth_trying(x)

    class OnGpu(torch.Tensor):
        is_cuda = True

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    x = X.as_subclass(OnGpu)
    assert not worth_trying(x)
    x.requires_grad_()
    assert worth_trying(x)
    with torch.no_grad():
        assert not worth_trying(x)
    assert not worth_trying(X.double().as_subclass(OnGpu).requires_grad_())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert not worth_trying(x)
