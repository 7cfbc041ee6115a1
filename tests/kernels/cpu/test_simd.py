"""Vectors in compiled loops against numpy."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gendef.kernels.cpu import simd as vector
from gendef.kernels.cpu.simd import compiled, largest, load, smallest, store


@compiled
def _arithmetic(a, b, out):  # type: ignore[no-untyped-def]
    lanes = 64 // a.itemsize
    for start in range(0, a.size, lanes):
        at = min(start, a.size - lanes)
        x, y = load(a, at), load(b, at)
        store(out, at, smallest(1.5, largest(-0.5, x * y + 2.0 * x - y * 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [16, 24, 51])
def test_arithmetic_of_whole_arrays(dtype: type, size: int) -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, size)).astype(dtype)
    a[3] = np.nan
    out = np.empty_like(a)
    _arithmetic(a, b, out)
    wanted = np.clip(a.astype(float) * b + 2 * a.astype(float) - 3 * b.astype(float), -0.5, 1.5)
    np.testing.assert_allclose(out, wanted, atol=20 * np.finfo(dtype).eps)
    assert np.isnan(out[3]) and np.isnan(out).sum() == 1


def test_without_a_place_for_machine_code_functions_are_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    original = vector.njit

    def no_place(function, *, cache=False, **options):  # type: ignore[no-untyped-def]
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return original(function, **options)

    monkeypatch.setattr(vector, "njit", no_place)
    assert compiled(lambda x: x + 1)(2) == 3


def test_machine_code_is_kept(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("from gendef.kernels.cpu.simd import compiled\n\n\n@compiled\ndef twice(x):\n    return 2 * x\n")
    names: dict[str, object] = {}
    exec(compile(module.read_text(), str(module), "exec"), names)
    assert names["twice"](2) == 4  # type: ignore[operator]
    assert list(tmp_path.rglob("*.nbi"))


def test_machine_code_of_other_sources_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "module.py"
    module.write_text("from gendef.kernels.cpu.simd import compiled\n\n\n@compiled\ndef twice(x):\n    return 2 * x\n")

    def loaded() -> int:
        names: dict[str, Any] = {}
        exec(compile(module.read_text(), str(module), "exec"), names)
        names["twice"](2)
        return sum(names["twice"].stats.cache_hits.values())

    assert [loaded(), loaded()] == [0, 1]
    monkeypatch.setattr(vector, "_sources", lambda: "others")
    assert [loaded(), loaded()] == [0, 1]


def test_a_full_disk_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    module = tmp_path / "module.py"
    module.write_text("from gendef.kernels.cpu.simd import compiled\n\n\n@compiled\ndef thrice(x):\n    return 3 * x\n")
    names: dict[str, Any] = {}
    exec(compile(module.read_text(), str(module), "exec"), names)
    assert names["thrice"](2) == 6
