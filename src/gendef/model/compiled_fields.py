"""Fields by networks that torch compiles: as CUDA graphs of fused kernels on a GPU, as C++ on a CPU."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from gendef.errors import CompilationError
from gendef.networks.generator import Generator, Motion

Backend = str | Callable[..., Any]


class CompiledFields:
    """`Generator.deform_at` with a deformation generator that torch has compiled; for sampling, not for training.

    The first call takes a minute or more: it compiles for `frames` frames and the given number of videos. Fewer frames
    are padded to `frames`, because another number would be compiled separately. Values differ by rounding.

    Args:
        generator: on the device where it stays; not changed.
        frames: largest number of frames per call.
        backend: of torch.compile.
    """

    def __init__(self, generator: Generator, frames: int, *, backend: Backend = "inductor") -> None:
        on_gpu = next(generator.parameters()).device.type == "cuda"
        # CUDA graphs write every chunk to the same place.
        self._copies = on_gpu
        mode = "reduce-overhead" if on_gpu and backend == "inductor" else None
        network = generator.deformation.forward
        self._run = torch.compile(network, fullgraph=True, dynamic=False, mode=mode, backend=backend)
        self._generator, self._frames = generator, frames

    @torch.no_grad()
    def __call__(self, motion: Motion, motion_noise: Tensor, times: Tensor) -> Tensor:
        """Deformation field (B, T, R, R, 2) at times (B, T).

        Raises:
            CompilationError: torch cannot compile, usually because there is no compiler.
        """
        count = times.shape[1]
        missing = max(self._frames - count, 0)
        every = torch.cat((times, times[:, -1:].expand(-1, missing)), dim=1)
        return self._generator.deform_at(motion, motion_noise, every, network=self._network)[:, :count]

    def _network(self, codes: Tensor, motion: Motion) -> Tensor:
        try:
            fields = cast(Tensor, self._run(codes, motion))
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            cause = str(getattr(error, "inner_exception", error)).strip().splitlines()[:1]
            raise CompilationError(
                f"torch could not compile the model ({''.join(cause)}): on a CPU it needs a C++ compiler such as"
                " g++, on a GPU Triton and a C compiler; everything also works without compilation"
            ) from error
        return fields.clone() if self._copies else fields
