"""An archive to train on."""

from tests.training.conftest import archive_path

__all__ = ["archive_path"]
