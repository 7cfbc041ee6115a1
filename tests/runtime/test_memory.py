"""Memory that is freed is kept: its pages are not paid for a second time, and nothing else changes."""

import json
import os
import subprocess
import sys
import threading

import pytest

from gendef.cli import main as program
from gendef.runtime import memory

GLIBC = pytest.mark.skipif(not memory._has_glibc(), reason="only glibc's memory can be kept so")

# A clean environment, so that settings of whoever runs the tests do not decide them.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC", "LD_PRE"))}

COUNT = """
import json, mmap, resource
from gendef.runtime import memory
import torch
def status(name): return int(open("/proc/self/status").read().split(name + ":")[1].split()[0]) << 10
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
{before}
kept, space = {kept}, status("VmSize")
for _ in range(12): torch.ones(16 << 20)
before = faults()
for _ in range(10): torch.ones(16 << 20)
print(json.dumps([kept, faults() - before, space]))
"""


def run(kept: str = "memory.keep_freed_memory()", before: str = "", **variables: str) -> tuple[bool, int, int]:
    """What keeping said, page faults of ten further tensors of 64 MB, and the address space, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(kept=kept, before=before)],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT | variables,
    )
    kept_it, faults, space = json.loads(done.stdout)
    return kept_it, faults, space


@GLIBC
def test_pages_are_paid_for_once():
    kept, faults, _ = run()
    assert kept and 8 * faults < run(kept="False")[1]


@GLIBC
def test_scarce_addresses():
    """Nothing is set aside, so that mapping a file still works under a limit; blocks are kept all the same."""
    limit = 'resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + (2 << 30),) * 2)'
    kept, faults, space = run(kept="(memory.keep_freed_memory(), mmap.mmap(-1, 1 << 30))[0]", before=limit)
    plain, plain_faults, plain_space = run(kept="False")
    assert kept and not plain and 2 * faults < plain_faults
    assert space < plain_space + (2 << 30)


@GLIBC
@pytest.mark.parametrize(("setting", "scarce"), [(0, False), (1, False), (2, True), (None, True)])
def test_accounting(setting, scarce, monkeypatch):
    import resource

    monkeypatch.setattr(memory, "_first_number", lambda path: setting)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert memory._scarce_addresses() == scarce


def test_first_number(tmp_path):
    (tmp_path / "some").write_text("2\n")
    (tmp_path / "none").write_text("")
    assert memory._first_number(str(tmp_path / "some")) == 2
    assert memory._first_number(str(tmp_path / "none")) is memory._first_number(str(tmp_path / "missing")) is None


@GLIBC
@pytest.mark.parametrize(
    "variables",
    [{"MALLOC_MMAP_MAX_": "9"}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, {"LD_PRELOAD": "libjemalloc.so.2"}],
)
def test_settings_of_the_user(variables):
    """They stay as they are."""
    assert run(**variables)[0] is False


@GLIBC
def test_another_thread():
    """Its memory is not the heap's."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(memory.keep_freed_memory.__wrapped__()))
    thread.start()
    thread.join()
    assert answers == [False]


def test_other_systems(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert memory.keep_freed_memory.__wrapped__() is False


def test_other_libraries(monkeypatch):
    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", unknown)
    assert memory.keep_freed_memory.__wrapped__() is False


@pytest.mark.parametrize(("command", "times"), [("sample", 1), ("fit", 0)])
def test_commands(command, times, monkeypatch, capsys):
    """What samples or trains keeps memory."""
    calls = []
    monkeypatch.setattr(program, "keep_freed_memory", lambda: calls.append(command))
    with pytest.raises(SystemExit):
        program.main([command, "--help"])
    assert len(calls) == times
