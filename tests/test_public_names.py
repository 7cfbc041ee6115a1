"""The public surface of `import gendef`: its names, and that importing it loads nothing heavy."""

import inspect
import subprocess
import sys

import pytest

import gendef
from gendef import errors

PUBLIC = [
    "CanonicalVideo",
    "CheckpointError",
    "ClipError",
    "CompilationError",
    "ConfigError",
    "DataError",
    "GenDeF",
    "GendefError",
    "InputError",
    "LayeredVideo",
    "MissingDependencyError",
    "ModelError",
    "Tracks",
    "TrainingError",
    "Video",
    "__version__",
    "animate",
    "davis",
    "fit_video",
    "frechet_distance",
    "interop",
    "kernel_distance",
    "load_clip",
    "load_model",
    "reconstruction",
    "tap_vid",
    "temporal",
]


def test_the_public_names():
    assert gendef.__all__ == PUBLIC == dir(gendef)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_exists_and_is_described(name):
    value = getattr(gendef, name)
    if name != "__version__":
        assert inspect.getdoc(value) and getattr(value, "__name__", "").endswith(name)


def test_all_errors_for_users_are_public():
    raised = {name for name, kind in vars(errors).items() if inspect.isclass(kind)} - {"PeerError"}
    assert raised <= set(gendef.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="keep_freed_memory"):
        gendef.keep_freed_memory  # noqa: B018


def test_import_gendef_is_light_and_then_gives_interop():
    code = (
        "import sys, gendef\n"
        "heavy = {'torch', 'numpy', 'scipy', 'PIL', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert callable(gendef.interop.official_generator)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
