"""How the cost of sampling and of training grows with frames, resolution and batch, as a picture and as JSON.

    python benchmarks/scaling.py --out scaling.json --plot docs/images/scaling.png

Sampling: seconds of a video of one canonical image, without writing it. Training: a step of stage 1 and of stage 2.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from train import prepared, synthetic

from gendef.bench.machine import describe, timed
from gendef.bench.sampling import SampledVideo
from gendef.networks.generator import Generator
from gendef.runtime.memory import keep_freed_memory
from gendef.training.presets import preset

FRAMES = (1, 4, 16, 64, 256)
PRESETS = {32: "tiny32", 64: "mini64", 128: "base128"}
BATCHES = (1, 2, 4, 8, 16, 32)


def sampling(name: str, frames: int) -> Callable[[], Any]:
    """Sampling of one video."""
    torch.manual_seed(0)
    generator = Generator(preset(name).generator).eval().requires_grad_(False)
    video = SampledVideo(generator, frames, torch.device("cpu"))

    def run() -> None:
        with torch.no_grad():
            content = video.content()
            fields = video.fields(video.motion(content), frames)
            video.generator.render(content, fields[None])

    return run


def training(name: str, stage_name: str, batch: int) -> Callable[[], Any]:
    """A training step."""
    stage = prepared(preset(name), stage_name, torch.device("cpu"), batch=batch)
    clips, times = synthetic(stage)
    return lambda: float(stage.step(clips, times)["loss_d"])


def measure(run: Callable[[], Any], runs: int) -> float:
    """Median seconds, after one run to warm up."""
    run()
    return statistics.median(timed(run, torch.device("cpu"))[0] for _ in range(runs))


def plot(report: dict[str, Any], path: Path) -> None:
    """Three panels, logarithmic in both axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True)
    panels = (
        ("frames", "frames of a video", "seconds to sample"),
        ("resolution", "side of the frames", "seconds to sample 64 frames"),
        ("batch", "batch", "seconds of a training step, mini64"),
    )
    for axis, (key, below, beside) in zip(axes, panels, strict=True):
        for name, points in report[key].items():
            axis.plot([point[0] for point in points], [point[1] for point in points], marker="o", label=name)
        axis.set(xscale="log", yscale="log", xlabel=below, ylabel=beside)
        ticks = sorted({point[0] for points in report[key].values() for point in points})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, write, draw."""
    keep_freed_memory()  # as the program does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    jobs: list[tuple[str, str, int, Callable[[], Callable[[], Any]]]] = []
    for side, name in PRESETS.items():
        for frames in FRAMES:
            jobs.append(("frames", f"{side}x{side}", frames, lambda n=name, f=frames: sampling(n, f)))
        jobs.append(("resolution", "64 frames", side, lambda n=name: sampling(n, 64)))
    for batch in BATCHES:
        for stage in ("pretrain", "finetune"):
            jobs.append(("batch", stage, batch, lambda s=stage, b=batch: training("mini64", s, b)))
    report: dict[str, Any] = {"machine": describe(torch.device("cpu")), "frames": {}, "resolution": {}, "batch": {}}
    with Progress() as progress:
        for key, name, size, job in progress.track(jobs, description="timing"):
            report[key].setdefault(name, []).append((size, measure(job(), options.runs)))
    options.out.write_text(json.dumps(report, indent=1))
    if options.plot is not None:
        plot(report, options.plot)


if __name__ == "__main__":
    main()
