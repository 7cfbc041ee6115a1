"""Autotuning on a GPU: candidates for one operation are compared and timed once; the fastest correct one is kept."""

import functools
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

RUNS = 7
"""Timed runs of each candidate; the median counts. One run before them is compared with the plain form."""
TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest norm of the difference from the plain form, as a share of its norm, that rounding can explain."""
_DEAD_DEVICE = getattr(torch, "AcceleratorError", ())
"""After this error (torch 2.8 and later) the device computes nothing more."""


@functools.cache
def _warn(text: str) -> None:
    """Warn once, not for every layer."""
    warnings.warn(text, stacklevel=2)


@dataclass(frozen=True)
class Candidate:
    """A function of tensors to a tensor, differentiable once."""

    name: str
    run: Callable[..., Tensor]


@dataclass(frozen=True)
class Trial:
    """Result of a trial: index of the fastest candidate, and milliseconds of each correct candidate by name."""

    best: int
    milliseconds: dict[str, float]


@dataclass(frozen=True)
class _Inputs:
    """The inputs that a trial is valid for: shape, strides, dtype and whether a gradient is needed, of each."""

    kind: str
    device: torch.device
    types: tuple[tuple[torch.Size, tuple[int, ...], torch.dtype, bool], ...]

    def __str__(self) -> str:
        sizes = " ".join("x".join(map(str, kind[0])) for kind in self.types)
        return f"{self.kind}, {sizes}, {str(self.types[0][2]).removeprefix('torch.')}"


_trials: dict[_Inputs, Trial] = {}


def can_autotune(*inputs: Tensor) -> bool:
    """Whether candidates may be tried for `inputs`: on a CUDA GPU, where a gradient is needed.

    Sampling calls a layer too rarely to pay for the compilation of kernels in a trial. Nothing can be timed inside
    torch.compile or while CUDA records a graph. Deterministic algorithms exclude a choice by time.
    """
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in inputs)) or torch.compiler.is_compiling():
        return False
    if not inputs[0].is_cuda or inputs[0].dtype not in TOLERANCE or torch.are_deterministic_algorithms_enabled():
        return False
    with torch.cuda.device_of(inputs[0]):
        return not torch.cuda.is_current_stream_capturing()


def autotune(
    kind: str,
    plain: Candidate,
    others: Callable[[], Sequence[Candidate]],
    *inputs: Tensor,
    tried_on: Callable[[], Sequence[Tensor]] | None = None,
) -> Candidate:
    """The candidate whose value and gradient together take the least time for such inputs.

    If a kernel fails or its result differs from the plain form, warn and leave it out. The first call for inputs of
    some shapes, strides and types runs the trial; later calls, also in the second pass of a checkpoint, reuse it.

    Args:
        kind: the operation, with everything that its time depends on apart from the inputs.
        plain: the reference.
        others: gives the other candidates.
        tried_on: gives inputs for the trial in place of `inputs`. Needed where `inputs` may lie on kinks of the
            operation, at which correct candidates have different gradients.
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
            _trials[key] = _run_trial(kind, [plain, *others()], chosen)
    best = _trials[key].best
    return others()[best - 1] if best else plain


def trials() -> list[tuple[str, dict[str, float]]]:
    """All trials so far: operation and inputs, and milliseconds by candidate."""
    return [(str(inputs), trial.milliseconds) for inputs, trial in _trials.items()]


def _run_trial(kind: str, candidates: Sequence[Candidate], inputs: Sequence[Tensor]) -> Trial:
    plain = candidates[0]
    if len(candidates) == 1:
        return Trial(0, {})
    if inputs[0].is_cuda:
        torch.cuda.synchronize()  # an earlier failure must not count as a kernel's
    try:
        with torch.no_grad():
            seed = plain.run(*inputs)
        expected = _results(plain, inputs, seed)
        milliseconds, best = {plain.name: _milliseconds(plain, inputs, seed)}, 0
        for index, candidate in enumerate(candidates[1:], 1):
            if not _agrees(kind, candidate, inputs, seed, expected):
                continue
            milliseconds[candidate.name] = _milliseconds(candidate, inputs, seed)
            if milliseconds[candidate.name] < milliseconds[candidates[best].name]:
                best = index
    except torch.OutOfMemoryError:
        _warn(f"too little memory for other candidates than {plain.name} for the {kind}")
        return Trial(0, {})
    return Trial(best, milliseconds)


def _agrees(
    kind: str, candidate: Candidate, inputs: Sequence[Tensor], seed: Tensor, expected: Sequence[Tensor]
) -> bool:
    """Whether `candidate` gives the expected results; warns why not."""
    try:
        off = [_difference(*pair) for pair in zip(_results(candidate, inputs, seed), expected, strict=True)]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compiler, driver and launch raise errors of many types
        if isinstance(error, _DEAD_DEVICE):
            raise
        cause = (str(error).strip().splitlines() or [""])[0]
        _warn(f"{candidate.name} cannot be used here ({type(error).__name__}: {cause})")
        return False
    most = TOLERANCE[inputs[0].dtype]
    if torch.get_float32_matmul_precision() != "highest":  # then the plain form is coarser itself
        most = max(most, TOLERANCE[torch.bfloat16])
    if not all(item <= most for item in off):  # false for NaN, too
        _warn(f"{kind}: {candidate.name} is not used, its results are {max(off):.1e} off")
        return False
    return True


def _results(candidate: Candidate, inputs: Sequence[Tensor], seed: Tensor) -> list[Tensor]:
    """The value, and the gradients of the inputs that need one, from `seed` as the gradient of the value."""
    own = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
    value = candidate.run(*own)
    return [value.detach(), *torch.autograd.grad(value, [x for x in own if x.requires_grad], seed)]


def _difference(found: Tensor, expected: Tensor) -> float:
    expected = expected.float()
    return float((found.float() - expected).norm() / expected.norm().clamp(min=1e-20))


def _milliseconds(candidate: Candidate, inputs: Sequence[Tensor], seed: Tensor) -> float:
    spent = []
    for _ in range(RUNS):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        _results(candidate, inputs, seed)
        stop.record()
        stop.synchronize()
        spent.append(start.elapsed_time(stop))
    return statistics.median(spent)
