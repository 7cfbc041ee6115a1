"""Moving tensors between devices."""

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`; the processor does not wait for what a CUDA GPU has yet to do, as it does for a plain `to`."""
    return x.to(device, non_blocking=device.type != "mps")
