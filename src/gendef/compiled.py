"""Fields by networks that torch compiles: as CUDA graphs of fused kernels on a GPU, as C++ on a processor."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from gendef.errors import CompilationError
from gendef.networks.generator import Generator, Motion

Backend = str | Callable[..., Any]


class _CompiledFields:
    """Takes the place of the deformation generator's `forward`.

    A chunk of fewer frames than before is filled up, for every number of frames is compiled for itself.
    """

    def __init__(self, generator: Generator, backend: Backend) -> None:
        on_gpu = next(generator.parameters()).device.type == "cuda"
        # Graphs write every chunk to the same place.
        self._copies = on_gpu
        mode = "reduce-overhead" if on_gpu and backend == "inductor" else None
        self._run = torch.compile(
            generator.deformation.forward, fullgraph=True, dynamic=False, mode=mode, backend=backend
        )
        self._frames = 0

    def __call__(self, codes: Tensor, ready: Motion) -> Tensor:
        frames = codes.shape[1]
        self._frames = max(self._frames, frames)
        if frames < self._frames:
            codes = torch.cat((codes, codes[:, -1:].expand(-1, self._frames - frames, -1)), dim=1)
        try:
            fields = cast(Tensor, self._run(codes, ready))
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            cause = str(getattr(error, "inner_exception", error)).strip().splitlines()[:1]
            raise CompilationError(
                f"torch could not compile the model ({''.join(cause)}): on a processor it needs a"
                " C++ compiler such as g++, on a GPU Triton; without compilation everything works, too"
            ) from error
        fields = fields[:, :frames]
        return fields.clone() if self._copies else fields


def compile_fields(generator: Generator, *, backend: Backend = "inductor") -> None:
    """Have torch compile the deformation generator, which makes the fields; for sampling, not for training.

    The first chunk of frames then takes a minute or more, and so does one of more frames than all before. Values differ
    by rounding. A missing compiler is found when the first chunk is made: `CompilationError`.

    Args:
        generator: on the device where it stays; changed in place.
        backend: of torch.compile.
    """
    generator.deformation.forward = _CompiledFields(generator, backend)  # type: ignore[method-assign]


def release_fields(generator: Generator) -> None:
    """Undo `compile_fields`, if it was done."""
    generator.deformation.__dict__.pop("forward", None)
