"""Autotuning: candidates are tried once, the fastest correct one is taken. Times are given here, not measured."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from gendef.kernels import autotune as choice
from gendef.kernels.autotune import Candidate, autotune, can_autotune, trials

X = torch.linspace(-1, 1, 12).reshape(3, 4)


@pytest.fixture
def times(monkeypatch):
    """Milliseconds by the ways' names, to be filled in; no trials of before."""
    given: dict[str, float] = {}
    monkeypatch.setattr(choice, "_trials", {})
    choice._warn.cache_clear()
    monkeypatch.setattr(choice, "_milliseconds", lambda candidate, inputs, seed: given[candidate.name])
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

    plain, others = Candidate("plain", _cube), [Candidate("quick", quick), Candidate("slow", _other_cube)]
    x = X.clone().requires_grad_()

    def chosen(kind, *inputs):
        return autotune(kind, plain, lambda: others, *inputs).name

    assert chosen("cube", x) == "quick"
    assert trials() == [("cube, 3x4, float32", times)]
    tried = len(calls)
    times.update(plain=0.1)
    assert chosen("cube", x) == "quick" and len(calls) == tried
    # Other sizes, another order in memory, and another kind are cases of their own.
    assert chosen("cube", x[:2].detach().requires_grad_()) == "plain"
    assert chosen("cube", X.t().contiguous().t().requires_grad_()) == "plain"
    assert chosen("other cube", x) == "plain"
    assert len(trials()) == 4


def test_the_plain_way_stays_where_it_is_fastest(times):
    times.update(plain=1.0, slow=1.1)
    x = X.clone().requires_grad_()
    assert autotune("cube", Candidate("plain", _cube), lambda: [Candidate("slow", _other_cube)], x).name == "plain"


def test_where_there_is_no_other_way_nothing_is_measured(times):
    assert autotune("cube", Candidate("plain", _cube), list, X.clone().requires_grad_()).name == "plain"
    assert trials() == [("cube, 3x4, float32", {})]


def test_a_trial_may_be_on_other_inputs(times):
    """At a kink, where ways have different gradients, none would agree."""
    times.update(plain=3.0, quick=1.0)
    x = torch.zeros(4, requires_grad=True)
    ways = Candidate("plain", lambda x: x.clamp(min=0)), lambda: [Candidate("quick", torch.relu)]
    assert x.clamp(min=0).sum().backward() is None and x.grad.sum() == 4  # relu's is 0 there
    assert autotune("ramp", *ways, x, tried_on=lambda: [x + 0.5]).name == "quick"


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
        (_raises, r"broken cannot be used here \(RuntimeError: no such kernel\)"),
        (_wrong_value, "cube: broken is not used, its results are 1.0e-02 off"),
        (_WrongGradient.apply, "cube: broken is not used, its results are .* off"),
        (_not_a_number, "cube: broken is not used, its results are nan off"),
        (_GradientIsNotANumber.apply, "cube: broken is not used, its results are .* off"),
    ],
)
def test_a_way_that_fails_or_does_not_agree_is_left_out_with_a_warning(times, run, why):
    times.update(plain=3.0, broken=0.5, quick=1.0)
    others = [Candidate("broken", run), Candidate("quick", _other_cube)]
    with pytest.warns(UserWarning, match=why):
        assert autotune("cube", Candidate("plain", _cube), lambda: others, X.clone().requires_grad_()).name == "quick"
    assert trials() == [("cube, 3x4, float32", {"plain": 3.0, "quick": 1.0})]


def test_coarse_products_are_no_measure_of_finer_ones(times, monkeypatch):
    times.update(plain=3.0, quick=1.0)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    ways = Candidate("plain", _wrong_value), lambda: [Candidate("quick", _cube)]
    assert autotune("cube", *ways, X.clone().requires_grad_()).name == "quick"


def _too_large(x):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_where_memory_does_not_suffice_the_plain_way_stays(times):
    times.update(plain=3.0, quick=1.0)
    ways = Candidate("plain", _cube), lambda: [Candidate("large", _too_large), Candidate("quick", _other_cube)]
    with pytest.warns(UserWarning, match="too little memory"):
        assert autotune("cube", *ways, X.clone().requires_grad_()).name == "plain"
    assert autotune("cube", *ways, X.clone().requires_grad_()).name == "plain"  # also in a checkpoint's second pass


def test_a_dead_device_is_not_the_kernels_fault(times, monkeypatch):
    times.update(plain=3.0)
    monkeypatch.setattr(choice, "_DEAD_DEVICE", RuntimeError)
    with pytest.raises(RuntimeError, match="no such kernel"):
        autotune("cube", Candidate("plain", _cube), lambda: [Candidate("broken", _raises)], X.clone().requires_grad_())


def test_errors_of_the_plain_way_are_the_callers(times):
    with pytest.raises(RuntimeError, match="no such kernel"):
        autotune("cube", Candidate("plain", _raises), lambda: [Candidate("quick", _cube)], X.clone().requires_grad_())
    assert not trials()


def test_a_trial_inside_a_checkpoint_leaves_its_gradient_alone(times):
    times.update(plain=3.0, quick=1.0)
    ways = Candidate("plain", _cube), lambda: [Candidate("quick", _other_cube)]

    def layer(x):
        y = torch.sin(x)
        return autotune("cube", *ways, y).run(y)

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
    x = X.clone().requires_grad_()
    assert (
        autotune("scale", Candidate("plain", scaled), lambda: [Candidate("quick", scaled)], x, factor).name == "quick"
    )


def test_on_a_processor_and_without_gradients_nothing_is_tried(monkeypatch):
    x = X.clone().requires_grad_()
    assert not can_autotune(x)

    class OnGpu(torch.Tensor):
        is_cuda = True

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    x = X.as_subclass(OnGpu)
    assert not can_autotune(x)
    x.requires_grad_()
    assert can_autotune(x)
    with torch.no_grad():
        assert not can_autotune(x)
    assert not can_autotune(X.double().as_subclass(OnGpu).requires_grad_())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert not can_autotune(x)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert not can_autotune(x)
