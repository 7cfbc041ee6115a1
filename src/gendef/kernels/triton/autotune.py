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
"""Largest difference from the plain way, as a share of its values' norm: rounding, not mistakes."""
_DEAD_DEVICE = getattr(torch, "AcceleratorError", ())
"""After it nothing more can be computed; of torch from 2.8 on."""


@functools.cache
def kernels(name: str) -> ModuleType | None:
    """The module gendef.kernels.triton.`name`, if Triton works, which its kernels are written in.

    torch for CUDA GPUs on Linux brings it.
    """
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        return importlib.import_module(f"gendef.kernels.triton.{name}")
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        _warn(f"Triton cannot be used here ({type(error).__name__}: {error})")
        return None


@functools.cache
def _warn(text: str) -> None:
    """Once, not for every layer."""
    warnings.warn(text, stacklevel=2)


@dataclass(frozen=True)
class Way:
    """A function of tensors to a tensor, differentiable once."""

    name: str
    run: Callable[..., Tensor]


@dataclass(frozen=True)
class Trial:
    """What a trial gave: the fastest way's place among all, and each usable way's milliseconds by its name."""

    best: int
    milliseconds: dict[str, float]


@dataclass(frozen=True)
class _Inputs:
    """What a trial holds for: types are shape, strides, number and whether a gradient is wanted."""

    kind: str
    device: torch.device
    types: tuple[tuple[torch.Size, tuple[int, ...], torch.dtype, bool], ...]

    def __str__(self) -> str:
        sizes = " ".join("x".join(map(str, kind[0])) for kind in self.types)
        return f"{self.kind}, {sizes}, {str(self.types[0][2]).removeprefix('torch.')}"


_trials: dict[_Inputs, Trial] = {}


def worth_trying(*inputs: Tensor) -> bool:
    """Whether other ways may be tried: on a GPU, and where a gradient is wanted.

    Sampling calls a layer too few times to pay for a trial, in which kernels are compiled. Inside torch.compile and
    where CUDA records a graph nothing can be measured, and whoever wants deterministic algorithms wants no trials.
    """
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in inputs)) or torch.compiler.is_compiling():
        return False
    if not inputs[0].is_cuda or inputs[0].dtype not in TOLERANCE or torch.are_deterministic_algorithms_enabled():
        return False
    with torch.cuda.device_of(inputs[0]):
        return not torch.cuda.is_current_stream_capturing()


def fastest(
    kind: str,
    plain: Way,
    others: Callable[[], Sequence[Way]],
    *inputs: Tensor,
    tried_on: Callable[[], Sequence[Tensor]] | None = None,
) -> Way:
    """The way whose value and gradient together take least time for such inputs.

    Another way than the plain one is taken if it agrees with it and is faster. What it raises, and that it does not
    agree, becomes a warning. The first call for inputs of some shapes, strides and types tries all; later ones, a
    second pass of a checkpoint among them, get the same.

    Args:
        kind: what the ways compute, with all that their time depends on beside the inputs.
        tried_on: inputs for the trial instead of these, where these may lie on kinks: there the ways may well have
            different gradients.
    """
    types = tuple((x.shape, x.stride(), x.dtype, x.requires_grad) for x in inputs)
    key = _Inputs(kind, inputs[0].device, types)
    if key not in _trials:
        chosen = (
            inputs
            if tried_on is None
            else [new.detach().requires_grad_(x.requires_grad) for new, x in zip(tried_on(), inputs, strict=True)]
        )
        # A checkpoint around this would count what the trial saves for its gradients.
        with torch.enable_grad(), saved_tensors_hooks(lambda x: x, lambda x: x), torch.cuda.device_of(inputs[0]):
            _trials[key] = _tried(kind, [plain, *others()], chosen)
    best = _trials[key].best
    return others()[best - 1] if best else plain


def trials() -> list[tuple[str, dict[str, float]]]:
    """All trials so far, for reports: what was tried, and milliseconds by way."""
    return [(str(inputs), trial.milliseconds) for inputs, trial in _trials.items()]


def _tried(kind: str, ways: Sequence[Way], inputs: Sequence[Tensor]) -> Trial:
    plain = ways[0]
    if len(ways) == 1:
        return Trial(0, {})
    if inputs[0].is_cuda:
        torch.cuda.synchronize()  # what failed before is not for a kernel to answer for
    try:
        with torch.no_grad():
            seed = plain.run(*inputs)
        expected = _results(plain, inputs, seed)
        milliseconds, best = {plain.name: _milliseconds(plain, inputs, seed)}, 0
        for index, way in enumerate(ways[1:], 1):
            if not _agrees(kind, way, inputs, seed, expected):
                continue
            milliseconds[way.name] = _milliseconds(way, inputs, seed)
            if milliseconds[way.name] < milliseconds[ways[best].name]:
                best = index
    except torch.OutOfMemoryError:
        _warn(f"too little memory to try other ways than {plain.name} for the {kind}")
        return Trial(0, {})
    return Trial(best, milliseconds)


def _agrees(kind: str, way: Way, inputs: Sequence[Tensor], seed: Tensor, expected: Sequence[Tensor]) -> bool:
    """Whether `way` gives what is expected; why not is a warning."""
    try:
        off = [_difference(*pair) for pair in zip(_results(way, inputs, seed), expected, strict=True)]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler, a driver or a launch may fail in ways of their own
        if isinstance(error, _DEAD_DEVICE):
            raise
        cause = (str(error).strip().splitlines() or [""])[0]
        _warn(f"{way.name} cannot be used here ({type(error).__name__}: {cause})")
        return False
    most = TOLERANCE[inputs[0].dtype]
    if torch.get_float32_matmul_precision() != "highest":  # the plain way's products are rounded to few digits
        most = max(most, TOLERANCE[torch.bfloat16])
    if not all(item <= most for item in off):  # also what is not a number
        _warn(f"{kind}: {way.name} is not used, its results are {max(off):.1e} off")
        return False
    return True


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
