"""The device that computes, and moving tensors to it."""

import torch
from torch import Tensor

from gendef.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """`name`, or for "auto" a CUDA or Apple GPU where there is one, else the CPU.

    Raises:
        ConfigError: the device does not exist here.
    """
    if name != "auto":
        try:
            device = torch.device(name)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def sent(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`; unlike a plain `to`, the copy does not make the CPU wait for the GPU."""
    return x.to(device, non_blocking=device.type != "mps")
