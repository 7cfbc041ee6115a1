"""Precision of the networks' arithmetic."""

from contextlib import AbstractContextManager, nullcontext

import torch

from gendef.errors import ConfigError

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types of feature maps, None for that of the weights; "auto" is bfloat16 where `prefers_bf16`."""


def prefers_bf16(device: torch.device) -> bool:
    """Whether "auto" is bfloat16 on `device`: GPUs that multiply it, CPUs with matrix instructions for it (AMX).

    On other CPUs bfloat16 is slower than float32, emulated and with the vector instructions of AVX-512 alike.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return device.type == "cpu" and has_amx()


def compute_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type of feature maps that `precision`, a name or "auto", stands for on `device`.

    Raises:
        ConfigError: it is another name.
    """
    if precision == "auto":
        return torch.bfloat16 if prefers_bf16(device) else None
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be auto, {', '.join(PRECISIONS)}, got {precision!r}")
    return PRECISIONS[precision]


def autocast(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    """Autocast context for networks that do not choose their own type."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def name_of(dtype: torch.dtype | None) -> str:
    """The name in PRECISIONS."""
    return next(name for name, known in PRECISIONS.items() if known == dtype)
