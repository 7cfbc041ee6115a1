"""Kernels for GPUs without one: their values from Triton's interpreter, their machine code from its compiler."""

import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass

import pytest


@pytest.fixture
def interpreted(monkeypatch):
    """A function of a module's name: a copy of it whose kernels are interpreted; the package's own is left alone."""
    triton = pytest.importorskip("triton", reason="kernels for GPUs are written in Triton, which is not installed")

    def load(name: str):
        # It is read where kernels are defined, and Triton's own are defined already.
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        tl = triton.language
        monkeypatch.setattr(tl, "zeros", lambda shape, dtype: tl.full(shape, 0, dtype))
        monkeypatch.setattr(tl, "sum", lambda values, axis: tl.reduce(values, axis, tl.standard._sum_combine))
        found = importlib.util.find_spec(name)
        spec = importlib.util.spec_from_file_location(f"interpreted_{name}", found.origin)
        copy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        return copy

    return load


@dataclass(frozen=True)
class MachineCode:
    """What became of a kernel: `stack` and `local` are bytes of memory of a thread whose registers do not suffice."""

    ptx: str
    shared: int
    registers: int
    stack: int
    local: int


@pytest.fixture
def machine_code(monkeypatch, tmp_path):
    """A function that compiles a kernel for a generation of GPUs, from its arguments' types and constants.

    Pointers, and the numbers called `divisible`, are multiples of 16.
    """
    triton = pytest.importorskip("triton", reason="kernels for GPUs are written in Triton, which is not installed")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "kernels"))
    tool = os.path.join(os.path.dirname(triton.__file__), "backends", "nvidia", "bin", "cuobjdump")

    def compiled(kernel, generation, types, constants, *, warps=4, divisible=()):
        places = {name: index for index, name in enumerate(kernel.arg_names)}
        signature = {name: "constexpr" if name in constants else types[name] for name in places}
        even = [name for name in places if signature[name].startswith("*") or name in divisible]
        source = triton.compiler.ASTSource(
            kernel,
            signature=signature,
            constexprs={(places[name],): value for name, value in constants.items()},
            attrs={(places[name],): [["tt.divisibility", 16]] for name in even},
        )
        target = triton.backends.compiler.GPUTarget("cuda", generation, 32)
        result = triton.compile(source, target=target, options={"num_warps": warps})
        binary = tmp_path / "kernel.cubin"
        binary.write_bytes(result.asm["cubin"])
        usage = subprocess.run([tool, "-res-usage", binary], capture_output=True, text=True, check=True).stdout
        numbers = map(int, re.search(r"REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+) ", usage).groups())
        return MachineCode(result.asm["ptx"], result.metadata.shared, *numbers)

    return compiled
