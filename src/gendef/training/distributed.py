"""Training by several processes, as started by torchrun: one per GPU (NCCL), or a few on a CPU (gloo).

Every process holds complete networks and a share of each batch. Each draws the random numbers of the whole batch and
takes its share, so that N processes together give the result of one process, up to rounding.
"""

import importlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gendef.errors import ConfigError, GendefError, PeerError

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""How long processes wait in a collective operation for a living process, such as the first one while it writes
previews. A dead process is detected immediately."""
LAUNCHER_PID = "GENDEF_LAUNCHER_PID"
"""Environment variable with the process id of `gendef.training.launch`, if it started this process."""
CHUNK = 2**28


@dataclass(frozen=True)
class Group:
    """The processes that train together, as seen by one of them. With one process the methods have no effect.

    Attributes:
        rank: number of this process.
        size: how many there are.
        launcher_pid: process id of the launcher, whose child this process must remain, or None.
    """

    rank: int = 0
    size: int = 1
    launcher_pid: int | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the first process, which alone reads and writes files and prints."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """This process's rows of the whole batch: rank, rank + size, ...

        Interleaved, so that the groups of the minibatch standard deviation are those of one process.
        """
        return slice(self.rank, None, self.size)

    def local_batch_size(self, name: str, batch: int) -> int:
        """Clips of a batch that each process takes.

        Raises:
            ConfigError: `batch`, the setting called `name`, cannot be divided.
        """
        if batch % self.size:
            raise ConfigError(
                f"{name} is {batch}, which is not divisible by {self.size} processes: choose a multiple of {self.size}"
            )
        return batch // self.size

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one message."""
        if self.size == 1:
            return
        own = list(tensors)
        if not own:
            return
        bucket = torch.cat([tensor.detach().reshape(-1) for tensor in own])
        _collective(dist.all_reduce, bucket)
        bucket /= self.size
        for tensor, mean in zip(own, bucket.split([tensor.numel() for tensor in own]), strict=True):
            tensor.detach().copy_(mean.view_as(tensor))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over the processes; all must have gradients for the same parameters."""
        self.average_(parameter.grad for parameter in parameters if parameter.grad is not None)

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes of a differentiable value.

        Its gradient flows to this process's part alone, at full weight: `average_gradients` divides it.
        """
        if self.size == 1:
            return value
        everywhere = value.detach().clone()
        self.average_([everywhere])
        return value + (everywhere - value).detach()

    def total(self, values: list[float]) -> list[float]:
        """Sums over the processes, of numbers on the host."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def largest(self, value: float) -> float:
        """The largest of the processes' numbers."""
        return self._reduced([value], dist.ReduceOp.MAX)[0]

    def _reduced(self, values: list[float], operation: Any) -> list[float]:
        if self.size == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64)
        _collective(dist.all_reduce, numbers, operation)
        return numbers.tolist()

    def gather(self, value: T) -> list[T]:
        """Every process's value (anything small), by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        _collective(dist.all_gather_object, values, value)
        return values

    def from_first(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The value that `make` returns in the first process, sent to all: tensors and plain values, no code."""
        if self.size == 1:
            return make()
        state: dict[str, Any] = {}
        file = io.BytesIO()
        with self.collective_errors():
            if self.is_main:
                state = make()
                torch.save(state, file)
        length = torch.tensor([file.tell()])
        _collective(dist.broadcast, length, 0)
        data = torch.frombuffer(file.getbuffer() if self.is_main else bytearray(int(length)), dtype=torch.uint8)
        for chunk in data.split(CHUNK):
            _collective(dist.broadcast, chunk, 0)
        if self.is_main:
            return state
        return torch.load(io.BytesIO(data.numpy().tobytes()), map_location="cpu", weights_only=True)

    @contextmanager
    def collective_errors(self) -> Iterator[None]:
        """If the block raises in one process, all processes end; only the first one that failed shows its message."""
        if self.size == 1:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except (GendefError, OSError) as error:
            if isinstance(error, PeerError):
                raise
            failure = error
        failed = [rank for rank, bad in enumerate(self.gather(failure is not None)) if bad]
        if not failed:
            return
        if failure is not None and failed[0] == self.rank:
            raise failure
        raise SystemExit(2)

    def launcher_has_ended(self) -> bool:
        """Whether the launcher of this process has ended."""
        return self.launcher_pid is not None and os.getppid() != self.launcher_pid


SINGLE_PROCESS = Group()


def _collective(operation: Callable[..., Any], *arguments: Any) -> None:
    """Run a collective operation.

    Raises:
        PeerError: another process has ended, or did not respond for `COLLECTIVE_TIMEOUT`.
    """
    try:
        operation(*arguments)
    except RuntimeError as error:
        raise PeerError(
            "the connection to another process is lost; its own message says why, and one without a message was killed"
            f" ({str(error).splitlines()[0]})"
        ) from error


def started_by_launcher() -> bool:
    """Whether torchrun, or `gendef train --processes`, started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def _number(name: str, default: str | None = None) -> int:
    text = os.environ.get(name, default)
    if text is None or not text.isdigit():
        raise ConfigError(f"{name} is {text!r} in the environment, but it must be a number: start with torchrun")
    return int(text)


@contextmanager
def process_group(device: str) -> Iterator[tuple[Group, str]]:
    """The group that torchrun's environment describes, and the device of this process.

    The requested device is interpreted as in `gendef.runtime.devices.choose_device`. Without torchrun the group has one
    process.

    Raises:
        ConfigError: more processes than GPUs on this machine, or a device that cannot be used by several processes.
    """
    size = _number("WORLD_SIZE") if started_by_launcher() else 1
    if size == 1:
        yield SINGLE_PROCESS, device
        return
    rank = _number("RANK")
    launcher_pid = _number(LAUNCHER_PID) if LAUNCHER_PID in os.environ else None
    device = _own_device(device, _number("LOCAL_RANK", str(rank)))
    nccl = device.startswith("cuda") and dist.is_nccl_available()
    # What torch defines there has, as a default argument, the group of the moment when it is imported (optimizers do
    # that). That group would outlive its destruction, and its threads would ask for an interpreter that has ended.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo", timeout=COLLECTIVE_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"process {rank} of {size} cannot join the others at {os.environ.get('MASTER_ADDR')}:"
            f"{os.environ.get('MASTER_PORT')}: {str(error).splitlines()[0]}"
        ) from error
    yield Group(rank, size, launcher_pid), device
    # After a failure the others may wait in a collective, and taking the group down would wait for them: the
    # process ends instead, which they notice.
    dist.destroy_process_group()


def _own_device(name: str, local_rank: int) -> str:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if name != "cuda":
        raise ConfigError(f"device {name!r} is for one process; several need cpu, or cuda with one GPU each")
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ConfigError(f"process {local_rank} of this machine has no GPU of its own: start at most {count} here")
    # Before anything else touches a GPU: every process would open the first one.
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"
