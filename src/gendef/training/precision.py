"""Which arithmetic the networks run in."""

from contextlib import AbstractContextManager, nullcontext

import torch

from gendef.training.config import TrainConfig


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; emulated, it is ten times slower than float32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check)() for check in checks if hasattr(torch.cpu, check))


def uses_bf16(config: TrainConfig, device: torch.device) -> bool:
    """Whether training runs in bfloat16 here."""
    if config.precision == "auto":
        return device.type == "cuda" or (device.type == "cpu" and cpu_has_bf16())
    return config.precision == "bfloat16"


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Context for the networks' forward passes."""
    if not uses_bf16(config, device):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
