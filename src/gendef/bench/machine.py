"""Description of the machine: processor, versions, and its rate of matrix products."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from gendef._version import __version__

Result = TypeVar("Result")


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, cores and versions."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gendef": __version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def wait(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(function: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Seconds that a call takes, and its result."""
    wait(device)
    start = time.perf_counter()
    result = function()
    wait(device)
    return time.perf_counter() - start, result


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int = 2048, runs: int = 5) -> float:
    """GFLOP/s of a product of square matrices, the median of several."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = [timed(lambda: a @ b, device)[0] for _ in range(runs + 1)][1:]
    return 2 * size**3 / statistics.median(seconds) / 1e9
