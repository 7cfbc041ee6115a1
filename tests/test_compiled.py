"""Fields by compiled networks: the same values, chunks that are filled up, errors."""

import shutil

import pytest
import torch

from gendef.compiled import compile_fields, release_fields
from gendef.errors import CompilationError
from gendef.networks.generator import Generator

from .conftest import tiny_config


def _generator(**changes: object) -> Generator:
    torch.manual_seed(0)
    generator = Generator(tiny_config(**changes)).eval().requires_grad_(False)
    for parameter in generator.deformation.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.5)
    return generator


@torch.no_grad()
def _fields(generator: Generator, chunks: tuple[int, ...]) -> list[torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    z = torch.randn(2, generator.z_dim, generator=noise)
    rows = torch.randn(2, generator.motion_noise_length(9.0), generator.motion_dim, generator=noise)
    motion = generator.motion(generator.content(z), z)
    every, found = torch.arange(9.0).expand(2, -1), []
    for start, count in zip(range(9), chunks, strict=False):
        found.append(generator.deform_at(motion, rows, every[:, start : start + count]))
    return found


def test_one_graph_gives_the_same_fields_for_chunks_of_any_length() -> None:
    generator = _generator()
    chunks = (3, 1, 3, 2)
    expected = _fields(generator, chunks)
    captured: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        captured.append(graph)
        return graph.forward

    compile_fields(generator, backend=backend)
    for found, wanted in zip(_fields(generator, chunks), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert len(captured) == 1  # a break would make it two, and so would a shorter chunk
    release_fields(generator)
    _fields(generator, (2, 4))
    assert len(captured) == 1
    release_fields(generator)


def test_what_cannot_be_compiled_says_what_to_do() -> None:
    generator = _generator()

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        raise RuntimeError("no compiler here")

    compile_fields(generator, backend=backend)
    with pytest.raises(CompilationError, match=r"no compiler here.*C\+\+ compiler"):
        _fields(generator, (2,))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_to_machine_code() -> None:
    generator = _generator()
    expected = _fields(generator, (3, 2))
    compile_fields(generator)
    for found, wanted in zip(_fields(generator, (3, 2)), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
