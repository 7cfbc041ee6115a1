"""Memory that is freed is kept: its pages are not paid for a second time, and nothing else changes."""

import json
import platform
import subprocess
import sys

import pytest

from gendef import memory

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's memory can be kept so")

COUNT = """
import json, resource
from gendef.memory import keep_freed_memory
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
{before}
kept = {kept}
import torch
for _ in range(12): torch.ones({size})
before = faults()
for _ in range(10): torch.ones({size})
print(json.dumps([kept, faults() - before]))
"""


def run(kept: str, before: str = "", size: int = 16 << 20) -> tuple[bool, int]:
    """What keeping said, and page faults of ten further tensors of `size` values."""
    code = COUNT.format(kept=kept, before=before, size=size)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    answer, faults = json.loads(done.stdout)
    return answer, faults


@GLIBC
def test_pages_are_paid_for_once():
    """Ten tensors of 64 MB have 163 840 pages of 4 KB."""
    assert run("False")[1] > 150_000
    kept, faults = run("keep_freed_memory()")
    assert kept and faults < 20_000


@GLIBC
def test_limited_address_space():
    """Where the process may not set so much aside, it goes on without."""
    limit = "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)); memory = __import__('gendef.memory').memory"
    kept, faults = run("keep_freed_memory()", limit + "; memory._MOST_RESERVED = 8 << 30", size=1 << 20)
    assert kept and faults < 10_240


@GLIBC
def test_strict_accounting(monkeypatch):
    """Address space that counts as memory is not set aside."""
    assert run("keep_freed_memory()", "import gendef.memory as m; m._accounts_strictly = lambda: True", 1 << 20)[0]
    monkeypatch.setattr(memory, "_accounts_strictly", lambda: True)
    memory._reserve(None, 1)  # would fail if it asked for a block


def test_elsewhere(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_freed_memory.__wrapped__() is False
