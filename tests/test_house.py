"""Which folder may import which, as the contracts in pyproject.toml say, and no circle of imports."""

import graphlib
import os
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
LINT = """import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(config_filename=sys.argv[1], limit_to_contracts=(sys.argv[2],), no_cache=True))"""


def lint(contract, config=ROOT / "pyproject.toml", sources=ROOT / "src"):
    """One contract in a process of its own: import-linter reconfigures `logging`."""
    command = [sys.executable, "-c", LINT, str(config), contract]
    environment = {**os.environ, "PYTHONPATH": str(sources)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def circle(imports):
    """The first circle among modules and what each imports, or None."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


@pytest.fixture(scope="module")
def imports():
    """Every file of the package, and the files that it imports at any place, in functions and for types too."""
    graph = grimp.build_graph("gendef", cache_dir=None)
    assert graph.find_modules_directly_imported_by("gendef.__main__") == {"gendef.cli.main"}
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


@pytest.mark.parametrize("contract", ["layers", "circles"])
def test_contract(contract):
    run = lint(contract)
    assert run.returncode == 0, run.stdout


def test_no_circle_between_files(imports):
    assert circle(imports) is None


def test_no_circle_between_folders(imports):
    folders = {}
    for module, names in imports.items():
        folder = folders.setdefault(".".join(module.split(".")[:2]), set())
        folder.update(".".join(name.split(".")[:2]) for name in names)
    # The package itself names its public parts, which import `errors` and `_version` beside it.
    del folders["gendef"]
    assert circle({name: below - {name} for name, below in folders.items()}) is None


def test_contracts_find_an_import_upwards_and_a_circle(tmp_path):
    """The contracts can fail: a package with both faults breaks both."""
    package = tmp_path / "gendef"
    files = {
        "errors.py": "import gendef.media.reader",
        "media/reader.py": "import gendef.media.writer",
        "media/writer.py": "import gendef.media.reader",
    }
    for name in ("__main__", "_version", "interop"):
        files[f"{name}.py"] = ""
    text = (ROOT / "pyproject.toml").read_text()
    for folder in (ROOT / "src" / "gendef").iterdir():
        if (folder / "__init__.py").exists():
            files[f"{folder.name}/__init__.py"] = ""
    for name, code in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(code)
    (package / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(text)
    for contract, named in (("layers", "gendef.errors -> gendef.media.reader"), ("circles", "gendef.media")):
        run = lint(contract, config=tmp_path / "pyproject.toml", sources=tmp_path)
        assert run.returncode == 1 and named in run.stdout
