"""Finding and reading weights; no code of a file is run."""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from gendef.errors import ModelError
from gendef.metrics.weights import FOLDER_VARIABLE, checksum, find_weights, read_tensors


class Hostile:
    """Would create a file if it were unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_found_by_path_folder_or_variable(tmp_path, monkeypatch):
    file = tmp_path / "b.pt"
    file.write_bytes(b"x")
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert find_weights(file, ("a.pt",), "weights", "") == file
    assert find_weights(tmp_path, ("a.pt", "b.pt"), "weights", "") == file
    with pytest.raises(
        ModelError, match=r"weights of X were not found .*GENDEF_WEIGHTS is not set.* a.pt or b.pt. Buy"
    ):
        find_weights(None, ("a.pt", "b.pt"), "weights of X", "Buy them.")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert find_weights(None, ("b.pt",), "weights", "") == file
    with pytest.raises(ModelError, match=f"not in {tmp_path}"):
        find_weights(None, ("c.pt",), "weights", "")


def test_reads_torch_files_and_trees_of_arrays(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    assert torch.equal(read_tensors(tmp_path / "a.pt")["a"], torch.ones(2))
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps({"x": {"y": np.arange(3.0)}, "note": "text"}, protocol=4))
    assert {name: value.tolist() for name, value in read_tensors(tmp_path / "b.ckpt").items()} == {"x/y": [0, 1, 2]}


def test_runs_nothing(tmp_path):
    path, victim = tmp_path / "evil.ckpt", tmp_path / "victim"
    path.write_bytes(pickle.dumps({"a": Hostile(victim)}))
    with pytest.raises(ModelError, match="cannot be read as a file of weights"):
        read_tensors(path)
    torch.save({"a": Hostile(victim)}, path)
    with pytest.raises(ModelError):
        read_tensors(path)
    assert not victim.exists()


def test_damaged_or_other_files(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"a\.pt cannot be read"):
        read_tensors(tmp_path / "a.pt")
    torch.save([torch.ones(1)], tmp_path / "b.pt")
    with pytest.raises(ModelError, match="but a list"):
        read_tensors(tmp_path / "b.pt")


def test_checksum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 10**6)
    assert checksum(tmp_path / "a") == hashlib.sha256(b"abc" * 10**6).hexdigest()
