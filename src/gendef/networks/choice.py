"""Of several ways to compute the same on a GPU, the one that is fastest on that very GPU: tried once, then kept."""

import functools
import importlib
import importlib.util
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

RUNS = 7
"""Of each way, to take the median of, after the one whose results are compared."""
TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference from the first way, as a share of its values' norm: rounding, not mistakes."""


@functools.cache
def kernels(name: str) -> ModuleType | None:
    """The module gendef.networks.`name`, if Triton is installed, which its kernels are written in.

    torch for CUDA GPUs on Linux brings it.
    """
    return importlib.import_module(f"gendef.networks.{name}") if importlib.util.find_spec("triton") else None


@dataclass(frozen=True)
class Way:
    """A function of tensors to a tensor, differentiable once."""

    name: str
    run: Callable[..., Tensor]


@dataclass(frozen=True)
class Trial:
    """What a trial gave: the fastest way's index, and each usable way's milliseconds by its name."""

    best: int
    milliseconds: dict[str, float]


@dataclass(frozen=True)
class _Inputs:
    """What a trial holds for."""

    kind: str
    device: torch.device
    types: tuple[tuple[torch.Size, torch.dtype, bool], ...]

    def __str__(self) -> str:
        sizes = " ".join("x".join(map(str, size)) for size, _, _ in self.types)
        return f"{self.kind}, {sizes}, {str(self.types[0][1]).removeprefix('torch.')}"


_trials: dict[_Inputs, Trial] = {}


def worth_trying(*inputs: Tensor) -> bool:
    """Whether other ways may be tried: on a GPU, and where a gradient is wanted.

    Sampling calls a layer too few times to pay for a trial, in which kernels are compiled. Inside torch.compile and
    where CUDA records a graph nothing can be measured.
    """
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in inputs)) or torch.compiler.is_compiling():
        return False
    return inputs[0].is_cuda and inputs[0].dtype in TOLERANCE and not torch.cuda.is_current_stream_capturing()


def fastest(kind: str, ways: Sequence[Way], *inputs: Tensor) -> Way:
    """The way whose value and gradient together take least time for such inputs.

    Args:
        kind: what the ways compute, with all that their time depends on beside the inputs.

    The first way is the plain one: another is taken if it agrees with it and is faster. What a way raises, and that it
    does not agree, becomes a warning. The first call for inputs of some shapes and types tries all; later ones, a
    second pass of a checkpoint among them, get the same.
    """
    key = _Inputs(kind, inputs[0].device, tuple((x.shape, x.dtype, x.requires_grad) for x in inputs))
    if key not in _trials:
        # A checkpoint around this would count what the trial saves for its gradients.
        with torch.enable_grad(), saved_tensors_hooks(lambda x: x, lambda x: x):
            _trials[key] = _tried(kind, ways, inputs)
    return ways[_trials[key].best]


def trials() -> dict[str, dict[str, float]]:
    """All trials so far, for reports: what was tried -> milliseconds by way."""
    return {str(inputs): trial.milliseconds for inputs, trial in _trials.items()}


def _tried(kind: str, ways: Sequence[Way], inputs: Sequence[Tensor]) -> Trial:
    plain = ways[0]
    with torch.no_grad():
        seed = plain.run(*inputs)
    expected = _results(plain, inputs, seed)
    milliseconds = {plain.name: _milliseconds(plain, inputs, seed)}
    best = 0
    for index, way in enumerate(ways[1:], 1):
        try:
            off = [_difference(*pair) for pair in zip(_results(way, inputs, seed), expected, strict=True)]
            spent = _milliseconds(way, inputs, seed)
        except Exception as error:  # a compiler, a driver or a launch may fail in ways of their own
            cause = (str(error).strip().splitlines() or [""])[0]
            warnings.warn(f"{kind}: {way.name} cannot be used here ({type(error).__name__}: {cause})", stacklevel=2)
            continue
        if not all(item <= TOLERANCE[inputs[0].dtype] for item in off):  # also what is not a number
            warnings.warn(f"{kind}: {way.name} is not used, its results are {max(off):.1e} off", stacklevel=2)
            continue
        milliseconds[way.name] = spent
        if spent < milliseconds[ways[best].name]:
            best = index
    return Trial(best, milliseconds)


def _results(way: Way, inputs: Sequence[Tensor], seed: Tensor) -> list[Tensor]:
    """The value, and from `seed` as its gradient those of the inputs that want one."""
    own = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
    value = way.run(*own)
    return [value.detach(), *torch.autograd.grad(value, [x for x in own if x.requires_grad], seed)]


def _difference(found: Tensor, expected: Tensor) -> float:
    expected = expected.float()
    return float((found.float() - expected).norm() / expected.norm().clamp(min=1e-20))


def _milliseconds(way: Way, inputs: Sequence[Tensor], seed: Tensor) -> float:
    spent = []
    for _ in range(RUNS):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        _results(way, inputs, seed)
        stop.record()
        stop.synchronize()
        spent.append(start.elapsed_time(stop))
    return statistics.median(spent)
