import os

import pytest
import torch

from gendef.errors import CheckpointError
from gendef.training.checkpoint import checkpoint_paths, is_finite, latest_checkpoint, load_checkpoint, save_checkpoint


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    for step in (0, 5, 12):
        save_checkpoint(tmp_path, "pretrain", step, {"step_number": step})
    assert [path.name for path in checkpoint_paths(tmp_path, "pretrain")] == [
        "pretrain-00000005.pt",
        "pretrain-00000012.pt",
    ]
    assert latest_checkpoint(tmp_path, "pretrain") == {"step_number": 12}
    assert latest_checkpoint(tmp_path, "finetune") is None


def damage(path):
    """Flip 64 bytes in the middle of a tensor's values."""
    data = bytearray(path.read_bytes())
    place = data.index(b"\x00\x00\x80?" * 64)  # ones in float32
    data[place : place + 64] = b"\xff" * 64
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["flipped", "truncated", "not finite"])
def test_a_bad_newest_one_is_named_and_the_one_before_is_taken(tmp_path, how):
    good, newest = {"weight": torch.zeros(1000)}, {"weight": torch.ones(1000)}
    save_checkpoint(tmp_path, "pretrain", 1, good)
    path = save_checkpoint(tmp_path, "pretrain", 2, newest)
    if how == "flipped":
        damage(path)
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    else:
        torch.save({"weight": torch.tensor([1.0, float("nan")])}, path)  # as version 0.1 could save it
    said = []
    state = latest_checkpoint(tmp_path, "pretrain", said.append)
    assert state is not None and torch.equal(state["weight"], good["weight"])
    assert len(said) == 1 and str(path) in said[0] and "pretrain-00000001.pt" in said[0]


def test_no_usable_one_is_an_error(tmp_path):
    damage(save_checkpoint(tmp_path, "pretrain", 1, {"weight": torch.ones(1000)}))
    with pytest.raises(CheckpointError, match=r"pretrain-00000001\.pt"):
        latest_checkpoint(tmp_path, "pretrain")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path, value):
    state = {"optimiser": {"state": [{"exp_avg": torch.tensor([0.0, value])}]}, "step_number": 3}
    assert not is_finite(state) and is_finite({"counts": torch.tensor([1]), "step_number": 3})
    with pytest.raises(CheckpointError, match="not finite"):
        save_checkpoint(tmp_path, "pretrain", 3, state)
    assert not any(tmp_path.iterdir())


def test_keys_of_version_0_1_are_read(tmp_path):
    torch.save({"critic": {}, "critic_optimiser": {}, "noise": 1}, tmp_path / "pretrain-00000001.pt")
    expected = {"discriminator": {}, "discriminator_optimiser": {}, "noise": 1}
    assert load_checkpoint(tmp_path / "pretrain-00000001.pt") == expected


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
