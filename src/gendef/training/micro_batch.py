"""Micro-batches with activation checkpointing: a step holds the activations of a few samples instead of the batch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gendef.errors import ConfigError
from gendef.training.ema import running_means


class MicroBatches:
    """Splits a batch into micro-batches of `size` samples; None computes the whole batch at once.

    Only the outputs of a micro-batch are kept. Its activations are computed again in the backward pass (gradient
    checkpointing, Chen et al. 2016), which costs one more forward pass. Values do not change, except for running means:
    every micro-batch starts from the same running means, and the result is the mean over micro-batches, as with several
    processes.

    Raises:
        ConfigError: `size` is not positive.
    """

    def __init__(self, size: int | None = None) -> None:
        if size is not None and size < 1:
            raise ConfigError(f"--micro-batch must be at least 1, got {size}")
        self.size = size

    def of(self, batch: int) -> list[slice]:
        """Slices of the micro-batches of a batch of `batch` samples."""
        size = self.size or batch
        return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]

    def run(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        *inputs: Tensor | None,
        module: nn.Module | None = None,
    ) -> tuple[Tensor, ...]:
        """`function(*inputs)`, computed micro-batch by micro-batch and concatenated.

        Args:
            function: returns tensors with one row a sample. It may depend on and update the running means of `module`,
                and on nothing else that changes.
            inputs: tensors with one row a sample, or None.
            module: network whose running means `function` updates.
        """
        first = next(item for item in inputs if item is not None)
        batch = len(first)
        parts = self.of(batch)
        if len(parts) == 1:
            return function(*inputs)
        running = {} if module is None else running_means(module)
        before = {name: item.clone() for name, item in running.items()}
        sums = {name: torch.zeros_like(item) for name, item in running.items()}

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), nullcontext() if module is None else _RestoredBuffers(module, before)

        def computed(*own: Tensor | None) -> tuple[Tensor, ...]:
            if not torch.is_grad_enabled():
                return function(*own)
            result: tuple[Tensor, ...] = checkpoint(
                function, *own, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
            )
            return result

        outputs = []
        for part in parts:
            outputs.append(computed(*(None if item is None else item[part] for item in inputs)))
            for name, item in running.items():
                sums[name].add_(item, alpha=(part.stop - part.start) / batch)
                item.copy_(before[name])
        for name, item in running.items():
            item.copy_(sums[name])
        return tuple(torch.cat(pieces) for pieces in zip(*outputs, strict=True))


FULL_BATCH = MicroBatches()
"""No split: the whole batch at once."""


class _RestoredBuffers(AbstractContextManager[None]):
    """Restores the buffers that the first forward pass of a micro-batch saw, as copies, while it is computed again."""

    def __init__(self, module: nn.Module, before: dict[str, Tensor]) -> None:
        self.module, self.before = module, before

    def __enter__(self) -> None:
        self.now = {name: self.module.get_buffer(name) for name in self.before}
        self._set({name: value.clone() for name, value in self.before.items()})

    def __exit__(self, *exception: Any) -> None:
        self._set(self.now)

    def _set(self, buffers: dict[str, Tensor]) -> None:
        for name, value in buffers.items():
            owner, _, own_name = name.rpartition(".")
            setattr(self.module.get_submodule(owner), own_name, value)
