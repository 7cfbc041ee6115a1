"""Speed of training steps: images a second in stage 1, clips a second in stage 2.

    python benchmarks/train.py --preset mini64 [--steps 10] [--json]
    python benchmarks/train.py --preset sky256 --batch 1 --steps 1 --stage finetune --plain
    python benchmarks/train.py --preset sky256 --batch 8 --steps 1 --stage finetune --micro-batch 1
    python benchmarks/train.py --preset mini64 --processes 2
    torchrun --standalone --nproc-per-node 8 benchmarks/train.py --preset sky256

Runs on synthetic frames, so that it measures networks and losses, not the disk. Peak memory is that of the process, so
measure one stage at a time for it. --plain turns the fast forms of all kernels off, as GENDEF_KERNELS=plain does.
--processes divides batch and threads; speed is that of all processes together, memory that of the first.
"""

import argparse
import contextlib
import json
import platform
import resource
import sys
import time
from dataclasses import replace

import torch

from gendef.data.clips import ClipBatch
from gendef.kernels.registry import plain_forms
from gendef.networks.generator import Generator
from gendef.runtime.devices import choose_device
from gendef.runtime.memory import keep_freed_memory
from gendef.runtime.precision import compute_dtype, name_of
from gendef.training.config import TrainConfig
from gendef.training.discriminators import build_discriminator
from gendef.training.distributed import SINGLE_PROCESS, Group, process_group, started_by_launcher
from gendef.training.launch import start_processes
from gendef.training.micro_batch import MicroBatches
from gendef.training.presets import preset
from gendef.training.stages import Stage, build_stage


def prepared(
    config: TrainConfig,
    name: str,
    device: torch.device,
    group: Group = SINGLE_PROCESS,
    *,
    batch: int | None = None,
    micro_batch: int | None = None,
) -> Stage:
    """The stage called `name`, past its warm-up so that the generator learns too; `batch` replaces its batch size."""
    if batch:
        config = replace(config, **{name: replace(getattr(config, name), batch_size=batch)})
    discriminator = build_discriminator(config, MicroBatches(micro_batch))
    stage = build_stage(name, config, Generator(config.generator), discriminator, device, group)
    stage.images_seen = getattr(stage.settings, "warmup", 0)
    return stage


def synthetic(stage: Stage) -> tuple[ClipBatch, torch.Tensor]:
    """A share of a batch of noise frames with plausible times, and times for the generated clips."""
    side, size = stage.generator.resolution, stage.group.local_batch_size("the batch", stage.settings.batch_size)
    video = torch.randint(256, (size, stage.num_frames, 3, side, side), dtype=torch.uint8)
    times = torch.rand(size, stage.num_frames).mul(30).round().cumsum(dim=1)
    return ClipBatch(video, times, None), times


def measure(stage: Stage, steps: int) -> list[float]:
    """Seconds of each step, after some to warm up."""
    batch, times = synthetic(stage)
    seconds = []
    warm_up = min(steps, 2)
    for step in range(steps + warm_up):
        start = time.perf_counter()
        float(stage.step(batch, times)["loss_d"])  # waits for the device
        if step >= warm_up:
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)


def main() -> None:
    """Measure both stages and print."""
    keep_freed_memory()  # as `gendef train` does
    options = parsed()
    if options.processes > 1 and not started_by_launcher():
        sys.exit(start_processes([sys.executable, *sys.argv], options.processes))
    with process_group(options.device) as (group, device):
        report = measured(options, group, choose_device(device))
    if group.is_main:
        print(json.dumps(report) if options.json else "\n".join(f"{key:<10} {value}" for key, value in report.items()))


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mini64")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, help="clips or images of a step, other than the preset's")
    parser.add_argument("--stage", choices=("pretrain", "finetune"), help="measure one of the two")
    parser.add_argument("--micro-batch", type=int, help="clips or images that are computed at once")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measured(options: argparse.Namespace, group: Group, device: torch.device) -> dict[str, object]:
    """What is printed."""
    torch.manual_seed(0)
    config = preset(options.preset)
    report: dict[str, object] = {
        "machine": f"{platform.machine()}, {group.size} processes of {torch.get_num_threads()} threads, {device}",
        "torch": torch.__version__,
        "precision": name_of(compute_dtype(config.precision, device)),
        "preset": options.preset,
    }
    for name, unit in (("pretrain", "images"), ("finetune", "clips")):
        if options.stage not in (None, name):
            continue
        stage = prepared(config, name, device, group, batch=options.batch, micro_batch=options.micro_batch)
        with plain_forms() if options.plain else contextlib.nullcontext():
            seconds = measure(stage, options.steps)
        size = stage.settings.batch_size
        report[name] = {
            f"{unit}_per_second": round(size / seconds[len(seconds) // 2], 3),
            "best": round(size / seconds[0], 3),
            "worst": round(size / seconds[-1], 3),
            "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        }
    return report


if __name__ == "__main__":
    main()
