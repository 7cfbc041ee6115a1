"""Errors that a user can act on: each says what was wrong, with the value, and what to do about it."""


class GendefError(Exception):
    """Base of all errors that gendef raises on purpose; the command line ends with exit status 2 on them."""


class InputError(GendefError, ValueError):
    """An argument, image, mask or number that was given cannot be used."""


class DataError(GendefError):
    """A video file, frame folder or data archive cannot be read or holds nothing usable."""


class ClipError(GendefError):
    """A saved canonical video is missing, damaged, hostile or of an unknown format."""


class ModelError(GendefError):
    """A model name, folder or weight file is missing, damaged or does not fit its configuration."""


class ConfigError(GendefError, ValueError):
    """A configuration field has an impossible value or does not fit the others."""


class CheckpointError(GendefError):
    """A training checkpoint cannot be written or read."""


class TrainingError(GendefError):
    """Training cannot go on, for instance because it diverged again after a roll-back."""


class PeerError(TrainingError):
    """Another process of the same training has ended or does not answer."""


class CompilationError(GendefError):
    """torch cannot compile networks on this machine."""


class MissingDependencyError(GendefError, ImportError):
    """An optional package is not installed.

    Args:
        package: name of the package that could not be imported.
        extra: the gendef extra that brings it.
        purpose: what it is needed for, as in "to write TensorBoard logs".
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{package} is needed {purpose}: install it with  pip install 'gendef[{extra}]'")
