from dataclasses import dataclass

import pytest
import torch

from gendef.runtime.resume_file import ResumeFile, keeping_damaged


@dataclass
class Count:
    """A state of one number and one tensor."""

    number: int
    values: torch.Tensor

    def packed(self):
        return {"values": self.values}, {"number": str(self.number)}

    @classmethod
    def unpacked(cls, tensors, numbers):
        return cls(int(numbers["number"]), tensors["values"])


@pytest.fixture
def file(tmp_path):
    return ResumeFile(Count, tmp_path / "clip" / ".state.safetensors", {"seed": 0})


def test_a_state_comes_back(file):
    assert file.load() is None
    file.save(Count(7, torch.arange(3)))
    back = file.load()
    assert back.number == 7 and torch.equal(back.values, torch.arange(3)) and file.warnings == []
    file.remove()
    assert file.load() is None


def test_the_state_of_another_job_is_not_used(file):
    file.save(Count(7, torch.arange(3)))
    other = ResumeFile(Count, file.path, {"seed": 1})
    assert other.load() is None and file.load().number == 7
    assert len(other.warnings) == 1 and file.path.name in other.warnings[0] and file.warnings == []


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "entry"])
def test_damage_is_reported_and_the_file_kept(file, caplog, damage):
    file.save(Count(7, torch.arange(1000)))
    whole = file.path.read_bytes()
    file.path.write_bytes({"empty": b"", "cut": whole[:-100], "text": b"no tensors", "entry": whole}[damage])
    if damage == "entry":
        file.save(Count("seven", torch.arange(3)))
    damaged = file.path.read_bytes()
    assert file.load() is None
    kept = file.path.with_name(".state.damaged.safetensors")
    assert kept.read_bytes() == damaged and not file.path.exists()
    assert len(file.warnings) == 1 and kept.name in file.warnings[0]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    file.path.write_bytes(b"again")
    assert file.load() is None and kept.read_bytes() == damaged
    assert file.path.with_name(".state.damaged2.safetensors").read_bytes() == b"again"


def test_damaged_files_outlive_their_folder(file):
    file.path.parent.mkdir()
    file.path.write_bytes(b"no tensors")
    file.load()
    folder = file.path.parent
    with keeping_damaged(folder):
        assert list(folder.iterdir()) == []
        folder.rmdir()
        folder.mkdir()
    assert [path.name for path in folder.iterdir()] == [".state.damaged.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["clip"]
