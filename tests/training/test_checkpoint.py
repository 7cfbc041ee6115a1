import os

import pytest
import torch

from gendef.errors import CheckpointError
from gendef.training.checkpoint import checkpoint_paths, latest_checkpoint, load_checkpoint, save_checkpoint


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    for step in (0, 5, 12):
        save_checkpoint(tmp_path, "pretrain", step, {"step_number": step})
    assert [path.name for path in checkpoint_paths(tmp_path, "pretrain")] == [
        "pretrain-00000005.pt",
        "pretrain-00000012.pt",
    ]
    assert latest_checkpoint(tmp_path, "pretrain") == {"step_number": 12}
    assert latest_checkpoint(tmp_path, "finetune") is None


def test_a_damaged_newest_one_is_passed_over(tmp_path):
    save_checkpoint(tmp_path, "pretrain", 1, {"step_number": 1})
    save_checkpoint(tmp_path, "pretrain", 2, {"step_number": 2}).write_bytes(b"cut off")
    assert latest_checkpoint(tmp_path, "pretrain") == {"step_number": 1}
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "pretrain-00000002.pt")


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, "pretrain", 1, {"step_number": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left.*intact"):
        save_checkpoint(tmp_path, "pretrain", 2, {"step_number": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["pretrain-00000001.pt"]
    assert latest_checkpoint(tmp_path, "pretrain") == {"step_number": 1}


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    torch.save({"state": Evil()}, tmp_path / "pretrain-00000001.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        latest_checkpoint(tmp_path, "pretrain")
