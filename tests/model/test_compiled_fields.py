"""Fields by compiled networks: the same values, chunks that are filled up, errors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import tiny_config

from gendef.cli.main import main
from gendef.errors import CompilationError
from gendef.model.checkpoint import save_generator
from gendef.model.compiled_fields import CompiledFields
from gendef.networks.baselines import build_generator
from gendef.networks.generator import Generator
from gendef.video.canonical_video import CanonicalVideo


def _generator(**changes: object) -> Generator:
    torch.manual_seed(0)
    generator = Generator(tiny_config(**changes)).eval().requires_grad_(False)
    for parameter in generator.deformation.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.5)
    return generator


@torch.no_grad()
def _fields(generator: Generator, compiled: CompiledFields | None, chunks: tuple[int, ...]) -> list[torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    z = torch.randn(2, generator.z_dim, generator=noise)
    rows = torch.randn(2, generator.motion_noise_length(9.0), generator.motion_dim, generator=noise)
    motion = generator.motion(generator.content(z), z)
    every = torch.arange(9.0).expand(2, -1)
    return [(compiled or generator.deform_at)(motion, rows, every[:, :count]) for count in chunks]


def test_one_graph_gives_the_same_fields_for_chunks_of_any_length() -> None:
    generator, chunks = _generator(), (1, 3, 2, 4)
    expected = _fields(generator, None, chunks)
    captured: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        captured.append(graph)
        return graph.forward

    compiled = CompiledFields(generator, 4, backend=backend)
    for found, wanted in zip(_fields(generator, compiled, chunks), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert len(captured) == 1  # a break would make it two, and so would a shorter chunk
    _fields(generator, None, (2, 4))
    assert len(captured) == 1, "the generator itself is as it was"


def _no_compiler(graph: torch.fx.GraphModule, _: object) -> object:
    raise RuntimeError("no compiler here")


def test_what_cannot_be_compiled_says_what_to_do() -> None:
    generator = _generator()
    with pytest.raises(CompilationError, match=r"no compiler here.*C\+\+ compiler"):
        _fields(generator, CompiledFields(generator, 2, backend=_no_compiler), (2,))


def test_the_program(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    def with_backend(chosen: Callable[..., object]) -> None:
        def build(generator: Generator, frames: int) -> CompiledFields:
            return CompiledFields(generator, frames, backend=chosen)

        monkeypatch.setattr("gendef.model.gendef.CompiledFields", build)
        monkeypatch.setattr("gendef.bench.sampling.CompiledFields", build)

    with_backend(backend)
    sample = ["sample", str(model_folder), "--seeds", "0", "--frames", "3", "--device", "cpu"]
    assert main([*sample, "--compile", "--out", str(tmp_path / "compiled")]) == 0
    assert len(graphs) == 1
    assert main([*sample, "--out", str(tmp_path / "plain")]) == 0
    ours, theirs = (CanonicalVideo.load(tmp_path / name / "seed0000") for name in ("compiled", "plain"))
    torch.testing.assert_close(ours.deformation, theirs.deformation, atol=1e-5, rtol=0)
    capsys.readouterr()
    torch._dynamo.reset()  # it would know the network
    bench = ["bench", "--model", str(model_folder), "--frames", "2", "--runs", "1", "--no-reference", "--json"]
    assert main([*bench, "--device", "cpu", "--compile"]) == 0
    assert json.loads(capsys.readouterr().out)["compiled"] is True
    assert len(graphs) == 2
    with_backend(_no_compiler)
    assert main([*sample, "--compile", "--out", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "no compiler here" in error and error.count("\n") == 1


def test_a_model_without_fields_is_not_compiled(tmp_path: Path, capsys: Any) -> None:
    torch.manual_seed(0)
    save_generator(tmp_path / "model", build_generator(tiny_config(model="stylegan-v")), {})
    assert main(["sample", str(tmp_path / "model"), "--compile", "--out", str(tmp_path / "out")]) == 2
    assert "--compile" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_to_machine_code() -> None:
    generator = _generator()
    expected = _fields(generator, None, (3, 2))
    for found, wanted in zip(_fields(generator, CompiledFields(generator, 3), (3, 2)), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
