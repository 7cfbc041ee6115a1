"""Which arithmetic the networks run in."""

from contextlib import AbstractContextManager, nullcontext

import torch

from gendef.errors import ConfigError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Names of types of feature maps; "auto" is bfloat16 on CUDA GPUs and on CPUs that multiply it in hardware."""


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; emulated, it is ten times slower than float32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check)() for check in checks if hasattr(torch.cpu, check))


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type of feature maps that `precision`, a name or "auto", stands for on `device`.

    Raises:
        ConfigError: it is none of them.
    """
    if precision == "auto":
        fast = device.type == "cuda" or (device.type == "cpu" and cpu_has_bf16())
        return torch.bfloat16 if fast else torch.float32
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be auto, {', '.join(PRECISIONS)}, got {precision!r}")
    return PRECISIONS[precision]


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Context in which networks that do not choose for themselves convolve in `dtype`."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def name_of(dtype: torch.dtype) -> str:
    """Such as "float32"."""
    return str(dtype).removeprefix("torch.")
