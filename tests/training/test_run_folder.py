"""One training a folder, and checks before anything is written."""

import json
import subprocess
import sys
from collections import namedtuple

import pytest
import torch

from gendef.errors import CheckpointError, ConfigError
from gendef.training.checkpoint import save_checkpoint
from gendef.training.logging import drop_rows_after
from gendef.training.run_folder import LOCK, RunFolder, writing

from .conftest import tiny_training

HOLDER = """
import sys, time
from pathlib import Path
from gendef.runtime.file_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def run_folder(path):
    return RunFolder(path, tiny_training(), "data")


def test_a_second_training_is_refused_and_a_killed_one_is_noticed(tmp_path):
    folder = run_folder(tmp_path / "run")
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run" / LOCK)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid} on "), folder.locked(print):
            pass
    finally:
        holder.kill()
        holder.wait()
    said = []
    with folder.locked(said.append):
        pass
    assert len(said) == 1 and str(holder.pid) in said[0]
    said.clear()
    with folder.locked(said.append):
        pass
    assert not said


def test_a_lock_of_another_machine_is_kept(tmp_path):
    (tmp_path / LOCK).write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    with (
        pytest.raises(ConfigError, match=r"process 7 on elsewhere.*delete"),
        run_folder(tmp_path).locked(print),
    ):
        pass


@pytest.mark.parametrize("text", ["", "training: [1", "3", "data: x"])
def test_a_damaged_config_is_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        run_folder(tmp_path).check_config()
    assert (tmp_path / "config.yaml").read_text() == text


def test_checking_writes_nothing(tmp_path):
    folder = run_folder(tmp_path / "run")
    folder.check_config()
    folder.check_room(1)
    assert not (tmp_path / "run").exists()
    folder.write_config()
    folder.check_config()


def test_old_checkpoints_count_as_room(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "checkpoints", "pretrain", 1, {"weight": torch.zeros(1000)})
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(8_500))
    assert run_folder(tmp_path).check_room(4_000) == 12_000
    with pytest.raises(ConfigError, match="checkpoints need"):
        run_folder(tmp_path / "other").check_room(4_000)


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl.*No space left"), writing(tmp_path / "metrics.jsonl"):
        raise OSError(28, "No space left on device")


def test_metrics_continue_after_the_step_of_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"stage": "pretrain", "step": step} for step in (16, 32, 48)] + [{"stage": "finetune", "step": 64}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"stage": "pretr')
    drop_rows_after(path, "pretrain", 32)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [rows[0], rows[1], rows[3]]
    drop_rows_after(tmp_path / "none.jsonl", "pretrain", 32)
