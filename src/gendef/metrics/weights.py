"""Weight files of metric networks: search, reading, checksums."""

import hashlib
import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.errors import ModelError

FOLDER_VARIABLE = "GENDEF_WEIGHTS"
"""Environment variable that names the folder of such weights."""


def find_weights(path: str | Path | None, names: Sequence[str], purpose: str, origin: str) -> Path:
    """The weight file: `path` itself, or one of `names` in it or in the folder GENDEF_WEIGHTS.

    Args:
        purpose: description of the weights, for the error message.
        origin: where to get them, for the error message.

    Raises:
        ModelError: there is none.
    """
    if path is not None:
        place = Path(path)
        if place.is_file():
            return place
        searched = [place]
    else:
        folder = os.environ.get(FOLDER_VARIABLE)
        searched = [Path(folder)] if folder else []
    for folder_path in searched:
        for name in names:
            if (folder_path / name).is_file():
                return folder_path / name
    where = f"not in {searched[0]}" if searched else f"no path was given and {FOLDER_VARIABLE} is not set"
    raise ModelError(f"{purpose} were not found ({where}): looked for {' or '.join(names)}. {origin}")


def checksum(path: str | Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name, from a file of torch.save or a pickled tree of arrays (Flax, names joined by "/").

    No code of the file is ever run: torch reads it with `weights_only`, and of a pickle nothing but NumPy arrays is let
    in.

    Raises:
        ModelError: the file is neither.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are not torch's, which the other reader is for
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        try:
            with Path(path).open("rb") as file:
                state = _ArrayUnpickler(file).load()
        except Exception:
            # On a damaged file either reader raises nearly anything; the first one's message is the better one.
            raise ModelError(f"{path} cannot be read as a file of weights: {error}") from error
    if not isinstance(state, Mapping):
        raise ModelError(f"{path} does not hold named weights but a {type(state).__name__}")
    return _flattened(state)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries of NumPy arrays and refuses everything else."""

    _CLASSES: Mapping[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # NumPy's own maker of arrays, under the two names it has had.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        """Only what makes an array."""
        if (module, name) not in self._CLASSES:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a file of weights")
        return self._CLASSES[module, name]


def _flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value, f"{prefix}{name}/")
        elif isinstance(value, Tensor):
            flat[prefix + str(name)] = value
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            flat[prefix + str(name)] = torch.from_numpy(value.copy())
    return flat
