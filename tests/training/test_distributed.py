"""Several processes against one: the same run, and no process that hangs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from gendef.cli.main import main
from gendef.errors import ConfigError
from gendef.training.ada import AdaptiveAugment
from gendef.training.checkpoint import latest_checkpoint
from gendef.training.diffaug import diffaug
from gendef.training.distributed import SINGLE_PROCESS, Group, process_group
from gendef.training.launch import start_processes
from gendef.training.run_folder import STAGES
from gendef.training.run_options import RunOptions
from gendef.training.trainer import Trainer

from .conftest import tiny_training

TRAIN = ["-m", "gendef", "train"]
LIMIT = 300
"""Seconds after which a process counts as hanging; all of them together need a tenth on an idle machine."""


def eights(**changes):
    """Batches of 8, so that a process of two has a whole group of the minibatch standard deviation (4)."""
    tiny = tiny_training(least_speed=0.5, image_weight=0.5, **changes)
    stages = {name: replace(getattr(tiny, name), batch_size=8, images=24) for name in ("pretrain", "finetune")}
    return replace(tiny, **stages)


def run(*command, **environment):
    command = [sys.executable, *map(str, command)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT)


@pytest.fixture
def arguments(archive_path, tmp_path):
    """Options of `gendef train` on a tiny configuration."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(eights().to_dict()))))
    return ["--data", str(archive_path), "--config", str(path), "--device", "cpu"]


def state(folder, stage):
    found = latest_checkpoint(folder / "checkpoints", stage)
    assert found is not None
    return found


def assert_close(first, second, start):
    """Two states agree to a thousandth of what training has changed since `start`."""
    assert first["images_seen"] == second["images_seen"]
    assert torch.equal(first["noise"], second["noise"])
    for part in ("generator", "discriminator", "average", "ada"):
        ours, theirs, before = (
            torch.cat([value.double().reshape(-1) for value in side[part].values()]) for side in (first, second, start)
        )
        moved = (ours - before).norm()
        assert moved > 0 or part == "ada", f"{part} has not moved"
        assert (ours - theirs).norm() <= 1e-3 * moved, f"{part}: {(ours - theirs).norm()} of {moved}"


def first_metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["stage"]: row for row in rows}


@pytest.mark.slow
def test_two_processes_then_one_then_torchrun_end_as_one_process_alone(archive_path, arguments, tmp_path):
    alone, several = tmp_path / "alone", tmp_path / "several"

    def trainer(folder, *stages):
        options = RunOptions(folder, stages or STAGES, device="cpu", quiet=True)
        return Trainer(eights(), archive_path, options)

    trainer(alone).run()
    torch.manual_seed(0)
    start = trainer(tmp_path / "start").build("pretrain").state_dict()
    out = ["--out", several]
    first = run(*TRAIN, *arguments, *out, "--stage", "pretrain", "--pretrain.images", 16, "--processes", 2)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("models and previews") == 1 and "in each of 2 processes" in first.stderr
    assert state(several, "pretrain")["images_seen"] == 16
    trainer(several, "pretrain").run()
    assert_close(state(alone, "pretrain"), state(several, "pretrain"), start)
    torch.manual_seed(0)
    start = trainer(several).build("finetune").state_dict()
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    third = run(*torchrun, *TRAIN, *arguments, *out)
    assert third.returncode == 0, third.stderr
    assert_close(state(alone, "finetune"), state(several, "finetune"), start)
    ours, theirs = first_metrics(alone)["finetune"], first_metrics(several)["finetune"]
    for name in ours.keys() - {"stage", "per_second"}:
        assert theirs[name] == pytest.approx(ours[name], rel=1e-3, abs=1e-5), name


WORKER = """
import os, signal, sys
from pathlib import Path
import torch
import gendef.training.trainer as loop
from gendef.errors import TrainingError
from gendef.training.distributed import process_group
from gendef.training.stages import Stage
from tests.training.test_distributed import LIMIT, eights

torch.set_num_threads(1)
signal.alarm(LIMIT)
scenario, data, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
loop.CHECK_EVERY = 1
original, steps = Stage.step, []


def step(self, batch, times):
    metrics = original(self, batch, times)
    steps.append(1)
    if len(steps) == 2 and int(os.environ["RANK"]) == 1:
        if scenario == "fail":
            raise TrainingError("the second process is out of luck")
        if scenario == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if scenario == "stop":
            signal.raise_signal(signal.SIGTERM)
        if scenario == "diverge":
            metrics["loss_g"] = torch.tensor(float("nan"))
    return metrics


Stage.step = step


def train(group, device):
    trainer = loop.Trainer(eights(), data, loop.RunOptions(out / scenario, ("pretrain",), device=device), group)
    built = []
    build, trainer.build = trainer.build, lambda name: built.append(build(name)) or built[-1]
    try:
        trainer.run()
    except loop.Stopped as stopped:
        print(stopped, flush=True)
    state = built[0].state_dict()
    parts = [state[name] for name in ("generator", "average", "discriminator")]
    tensors = [value.double().sum().item() for part in parts for value in part.values()]
    same = group.gather([tensors, state["images_seen"], state["noise"].tolist(), state["seconds"]])
    assert same[0] == same[1], "the processes have come apart"
    print(f"process {group.rank} of {scenario} ends at {state['images_seen']}", flush=True)


with process_group("cpu") as (group, device):
    if scenario in ("fail", "kill"):
        train(group, device)
    else:
        for scenario in ("stop", "diverge"):
            steps.clear()
            train(group, device)

tasks = Path("/proc/self/task")  # of Linux
names = [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.exists() else []
print(f"threads of the group: {[name for name in names if 'gloo' in name]}", flush=True)
"""


@pytest.fixture
def worker(archive_path, tmp_path, monkeypatch, capfd, caplog):
    """Runs a scenario in two processes; returns exit status, standard output and standard error."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", str(root / "src"))]))

    def start(scenario):
        status = start_processes([sys.executable, str(script), scenario, str(archive_path), str(tmp_path)], 2)
        out, err = capfd.readouterr()
        return status, out, err + caplog.text

    return start


@pytest.mark.slow
def test_a_signal_or_divergence_in_one_process_is_everybodys(worker, tmp_path):
    status, out, err = worker("stop and diverge")
    assert status == 0, err
    assert out.count("stopped at 16 images; the same command continues") == 2
    assert state(tmp_path / "stop", "pretrain")["images_seen"] == 16
    assert err.count("diverged at 16 images: back to the last checkpoint") == 1
    assert out.count("threads of the group: []") == 2  # one that outlives the interpreter aborts it now and then
    for rank in range(2):
        assert f"process {rank} of stop ends at 16" in out
        assert f"process {rank} of diverge ends at 24" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "message", "expected"),
    [("fail", "the second process is out of luck", 1), ("kill", "process 1 of 2 was ended by signal 9 (SIGKILL", 137)],
)
def test_a_failure_in_one_process_ends_all(worker, scenario, message, expected):
    status, _, err = worker(scenario)
    assert status == expected
    assert message in err
    assert "the connection to another process is lost" in err
    assert "process 0 of 2 was ended" not in err, "the other one did not notice by itself"


def test_a_machine_with_other_data_is_refused(archive_path, tmp_path, monkeypatch):
    def gather(self, value):
        return [value, ["other", *value[1:]] if isinstance(value, list) else False]

    monkeypatch.setattr(Group, "gather", gather)
    options = RunOptions(tmp_path / "run", device="cpu", quiet=True)
    with pytest.raises(ConfigError, match="process 1 has other data than process 0"):
        Trainer(eights(), archive_path, options, Group(0, 2))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", range(2))
def test_augmentation_of_a_share_is_the_share_of_the_augmentation(rank):
    group = Group(rank, 2)
    video = torch.rand(6, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ada = AdaptiveAugment()
    ada.p.fill_(0.8)
    for augment in (ada, diffaug):
        whole = augment(video, torch.Generator().manual_seed(0))
        share = augment(video[group.share], torch.Generator().manual_seed(0), group)
        assert torch.equal(share, whole[group.share])
        assert not torch.equal(share, video[group.share])


def test_a_batch_that_cannot_be_shared(arguments, tmp_path, capsys):
    assert main(["train", *arguments, "--out", str(tmp_path / "run"), "--processes", "3"]) == 2
    error = capsys.readouterr().err
    assert "batch_size is 8" in error and "3 processes" in error
    assert not (tmp_path / "run").exists()
    assert main(["train", *arguments, "--out", str(tmp_path / "run"), "--processes", "0"]) == 2
    assert "--processes must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "device", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "two"}, "cpu", "WORLD_SIZE is 'two' in the environment"),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "99"},
            "cuda",
            "process 99 of this machine has no GPU of its own",
        ),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "mps", "device 'mps' is for one process"),
    ],
)
def test_an_environment_that_cannot_be(monkeypatch, environment, device, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message), process_group(device):
        pass


def test_alone_there_is_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group("cpu") as (group, device):
        assert group is SINGLE_PROCESS and device == "cpu"
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with process_group("cuda") as (group, device):
        assert group is SINGLE_PROCESS and device == "cuda"


def test_a_process_whose_starter_is_gone_notices():
    assert not Group(launcher_pid=os.getppid()).launcher_has_ended()
    assert not SINGLE_PROCESS.launcher_has_ended()
    assert Group(launcher_pid=os.getpid()).launcher_has_ended()


def test_the_mean_over_processes_keeps_the_gradient(monkeypatch):
    monkeypatch.setattr(Group, "average_", lambda self, tensors: [tensor.fill_(5.0) for tensor in tensors])
    value = torch.tensor(3.0, requires_grad=True)
    mean = Group(0, 2).mean(value)
    mean.square().backward()
    assert mean.item() == 5 and value.grad is not None and value.grad.item() == 10


CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
# In one piece: unbuffered, what two processes print at a time comes mixed.
os.write(1, f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\\n".encode())
time.sleep(60)
"""


def test_the_starter_passes_a_signal_on_once(capfd):
    timer = threading.Timer(2.0, signal.raise_signal, [signal.SIGTERM])
    timer.start()
    began = time.monotonic()
    assert start_processes([sys.executable, "-c", CHILD], 2) == 0
    assert time.monotonic() - began < 30
    out = capfd.readouterr().out
    assert "rank 0 of 2" in out and "rank 1 of 2" in out
