"""The whole bench on one device: sampling in every precision, training steps, and the kernels that take most time.

    python benchmarks/device.py --compile --out h200.json                          # 256x256, the paper's networks
    python benchmarks/device.py --presets mini64 --precisions float32 --out cpu.json

Writes JSON and prints Markdown tables. Training: both stages with --batch samples a step, also --micro-batch of them at
a time. On a GPU the memory is the peak of what torch held, and layers that have kernels beside torch's operators
say how long either takes.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from train import measure, prepared, synthetic

from gendef.bench.machine import describe
from gendef.bench.sampling import SampledVideo, bench_sampling
from gendef.kernels.autotune import trials
from gendef.networks.generator import Generator
from gendef.runtime.devices import choose_device
from gendef.runtime.memory import keep_freed_memory
from gendef.runtime.precision import PRECISIONS
from gendef.training.presets import preset
from gendef.training.stages import Stage

KERNELS = 12
"""Kernels that are listed."""


def sampled(
    name: str, precision: str, compiled: bool, options: argparse.Namespace, device: torch.device
) -> dict[str, Any]:
    """`bench_sampling` of a preset's networks, and its kernels; the plain forms once, in float32."""
    torch.manual_seed(0)
    generator = Generator(preset(name).generator).eval().requires_grad_(False).to(device)
    generator.compute_dtype = PRECISIONS[precision]
    literal = precision == "float32" and not compiled
    report = bench_sampling(generator, options.frames, runs=options.runs, reference=literal, compiled=compiled)
    video = SampledVideo(generator, options.frames, device, compiled=compiled)
    with torch.no_grad():
        video.fields(video.motion(video.content()), options.frames)  # compiles
        report["kernels"] = kernels(lambda: video.fields(video.motion(video.content()), options.frames), device)
    return report


def trained(
    name: str, stage: str, precision: str, micro_batch: int | None, options: argparse.Namespace, device: torch.device
) -> dict[str, Any]:
    """Samples a second, peak memory and kernels of a step, or that it does not fit."""
    config = replace(preset(name), precision=precision)
    built = prepared(config, stage, device, batch=options.batch, micro_batch=micro_batch)
    try:
        step(built)  # layers try their kernels, which takes memory of its own
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = measure(built, options.steps)
        found = kernels(lambda: step(built), device)
    except torch.OutOfMemoryError:
        return {"out_of_memory": True}
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return {"per_second": options.batch / seconds[len(seconds) // 2], "peak_gb": peak, "kernels": found}


def step(stage: Stage) -> None:
    """One step on noise."""
    stage.step(*synthetic(stage))


def kernels(run: Any, device: torch.device) -> list[dict[str, Any]]:
    """What took most time in itself while `run` ran: on a GPU its kernels, else torch's operators."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiled:
        run()
    events = [e for e in profiled.key_averages() if not on_gpu or e.device_type == DeviceType.CUDA]
    times = {(e.key, e.count): e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in events}
    whole = sum(times.values()) or 1
    first = sorted(times, key=lambda item: -times[item])[:KERNELS]
    return [{"name": n, "calls": c, "ms": times[n, c] / 1e3, "share": times[n, c] / whole} for n, c in first]


def main() -> None:
    """Measure, write, print."""
    keep_freed_memory()  # as the program does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["sky256"])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="sample with compiled networks, too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    device = choose_device(options.device)
    report: dict[str, Any] = {"machine": describe(device), "batch": options.batch, "sampling": {}, "training": {}}
    for name in options.presets:
        for precision in options.precisions:
            for compiled in (False, True) if options.compile else (False,):
                found = sampled(name, precision, compiled, options, device)
                row = f"{name}, {precision}" + (", compiled" if compiled else "")
                report["sampling"][row] = found
                print(f"{row}: {found['frames_per_second']:.1f} frames/s", flush=True)
                options.out.write_text(json.dumps(report, indent=1))
        for precision in (p for p in options.precisions if p != "float16"):
            for stage in ("pretrain", "finetune"):
                for micro_batch in (None, options.micro_batch):
                    row = f"{name}, {precision}, {stage}, " + (f"{micro_batch} at a time" if micro_batch else "at once")
                    report["training"][row] = trained(name, stage, precision, micro_batch, options, device)
                    print(row, {k: v for k, v in report["training"][row].items() if k != "kernels"}, flush=True)
                    report["trials"] = trials()
                    options.out.write_text(json.dumps(report, indent=1))
    show(report)


def show(report: dict[str, Any]) -> None:
    """Tables in Markdown."""
    print(f"\n{report['machine']}\n")
    print("| sampling | frames/s | canonical, s | fields, s | GFLOP/s | times literal |\n|---|---|---|---|---|---|")
    for row, found in report["sampling"].items():
        spent, literal = found["seconds"], found.get("reference", {}).get("ratio")
        rate = sum(found["gflop"].values()) / (found["total_seconds"] - spent["encode"])
        values = [f"{found['frames_per_second']:.1f}", f"{spent['canonical']:.4f}", f"{spent['fields']:.4f}"]
        values += [f"{rate:.0f}", "" if literal is None else f"{literal:.1f}"]
        print(f"| {row} | {' | '.join(values)} |")
    print(f"\n| training, {report['batch']} a step | a second | peak memory, GB |\n|---|---|---|")
    for row, found in report["training"].items():
        peak = found.get("peak_gb")
        speed = "out of memory" if "out_of_memory" in found else f"{found['per_second']:.2f}"
        print(f"| {row} | {speed} | {'' if peak is None else f'{peak:.1f}'} |")
    if report.get("trials"):
        print("\n| value and gradient by several ways | milliseconds |\n|---|---|")
    for what, spent in report.get("trials", []):
        print(f"| {what} | {', '.join(f'{way}: {one:.3f}' for way, one in spent.items())} |")
    for row, found in {**report["sampling"], **report["training"]}.items():
        for kernel in found.get("kernels", [])[:3]:
            print(f"{row}: {kernel['share']:.0%} {kernel['name'][:80]} ({kernel['calls']} calls)")


if __name__ == "__main__":
    main()
