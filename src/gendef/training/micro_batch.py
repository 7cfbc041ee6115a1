"""A batch computed some samples at a time, so that a GPU need not hold all of its activations at once."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gendef.errors import ConfigError
from gendef.training.ema import running_means


class Parts:
    """Samples of a batch that are computed together.

    Where there are fewer than the batch has, nothing of a part but its result is kept; what its gradient needs is
    computed a second time when it is wanted (Chen et al. 2016). That costs one more forward pass and changes no value,
    except that running means start from the same state in each part and end at the mean of the parts', as those of
    several processes do.

    Raises:
        ConfigError: `size` is not positive.
    """

    def __init__(self, size: int | None = None) -> None:
        if size is not None and size < 1:
            raise ConfigError(f"--micro-batch must be at least 1, got {size}")
        self.size = size

    def of(self, batch: int) -> list[slice]:
        """The parts of `batch` samples."""
        size = self.size or batch
        return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]

    def run(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        *inputs: Tensor | None,
        module: nn.Module | None = None,
    ) -> tuple[Tensor, ...]:
        """`function` of inputs with a sample a row (or None), whose outputs are in the order of the samples.

        Args:
            function: depends on nothing else that changes, but the running means of `module`, which it may update.
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
            return nullcontext(), nullcontext() if module is None else _Rewound(module, before)

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


WHOLE = Parts()
"""All at once."""


class _Rewound(AbstractContextManager[None]):
    """The buffers as they were when a part was computed first, as tensors of their own: the part may remember them."""

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
