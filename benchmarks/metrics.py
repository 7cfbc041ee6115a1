"""What a detector sees, and what measuring costs.

    python benchmarks/metrics.py ARCHIVE [--detector i3d] [--detector-weights FILE] [--count 16] [--json]

One half of the archive's clips is compared with the other half, as it is and after damage of rising strength: blur,
noise, frames in disorder, standing still. A distance that is to mean something grows with it. Then the seconds
that each part takes, the median of three.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from gendef.evaluation.detectors import Detector, find_detector
from gendef.evaluation.open_clips import open_clips
from gendef.evaluation.sampling import Sampling
from gendef.metrics.frechet import GaussianStatistics, frechet_distance
from gendef.metrics.kernel_distance import kernel_distance
from gendef.optical_flow.dis import dis_flow


def blurred(clip: Tensor, strength: float) -> Tensor:
    """Gaussian blur of this many pixels."""
    return torch.from_numpy(gaussian_filter(clip.numpy(), (0, 0, strength, strength)))


def noisy(clip: Tensor, strength: float) -> Tensor:
    """Gaussian noise of this many grey levels."""
    noise = np.random.default_rng(0).normal(0, strength, clip.shape)
    return torch.from_numpy((clip.numpy() + noise).clip(0, 255).astype(np.uint8))


def shuffled(clip: Tensor, share: float) -> Tensor:
    """This share of the frames trade places."""
    rng, order = np.random.default_rng(0), np.arange(len(clip))
    chosen = rng.choice(len(clip), round(share * len(clip)), replace=False)
    order[np.sort(chosen)] = chosen
    return clip[order]


def frozen(clip: Tensor, share: float) -> Tensor:
    """The last frames, this share of them, repeat the one before."""
    order = np.arange(len(clip)).clip(max=round((1 - share) * (len(clip) - 1)))
    return clip[order]


DAMAGES: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "blur (pixels)": (blurred, (0.5, 1, 2)),
    "noise (grey levels)": (noisy, (5, 15, 40)),
    "frames in disorder (share)": (shuffled, (0.25, 0.5, 1)),
    "standing still (share)": (frozen, (0.25, 0.5, 1)),
}


def features(detector: Detector, clips: Iterator[Tensor] | list[Tensor]) -> np.ndarray:
    """Features of clips, one at a time."""
    return np.concatenate([detector.features([clip]).numpy() for clip in clips])


def distances(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Both distances of two sets of features."""
    frechet = frechet_distance(GaussianStatistics.of(first), GaussianStatistics.of(second)).value
    return {"frechet": frechet, "kernel": kernel_distance(first, second).value}


def median_seconds(work: Callable[[], Any]) -> float:
    """Of three runs, after one to warm up."""
    work()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def timings(detector: Detector, clip: Tensor) -> dict[str, float]:
    """Seconds of each part."""
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(2, 256, 400)), rng.normal(size=(2, 2048, 400))
    flow, frames = dis_flow(), clip.movedim(1, -1).numpy()
    return {
        f"{detector.spec.name}, a clip of {len(clip)} frames": median_seconds(lambda: detector.features([clip])),
        "Frechet distance, 2048 x 400": median_seconds(
            lambda: frechet_distance(GaussianStatistics.of(many[0]), GaussianStatistics.of(many[1]))
        ),
        "kernel distance, 256 x 400": median_seconds(lambda: kernel_distance(*few)),
        "kernel distance, 2048 x 400": median_seconds(lambda: kernel_distance(*many)),
        f"optical flow, a pair of {clip.shape[-1]} pixels": median_seconds(lambda: flow(frames[0], frames[1])),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("--detector", default="i3d")
    parser.add_argument("--detector-weights", type=Path)
    parser.add_argument("--count", type=int, default=16, help="clips of each half")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    detector = Detector(find_detector(options.detector), options.detector_weights)
    clips = list(open_clips(options.archive).clips(Sampling(clips_per_video=0, count=2 * options.count)))
    mine, others = clips[::2], features(detector, clips[1::2])
    report: dict[str, Any] = {"clips": len(mine), "as it is": distances(features(detector, mine), others)}
    for name, (damage, strengths) in DAMAGES.items():
        report[name] = {
            str(strength): distances(features(detector, [damage(clip, strength) for clip in mine]), others)
            for strength in strengths
        }
    seconds = timings(detector, clips[0])
    machine = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    if options.json:
        print(json.dumps({"machine": machine, "torch": torch.__version__, **report, "seconds": seconds}))
        return
    print(f"{machine}, torch {torch.__version__}")
    print(f"{options.archive}, {detector.spec.name}, {report['clips']} clips against as many others\n")
    print(f"{'':<28}{'strength':>9}{'Frechet':>10}{'kernel':>10}")
    for name, rows in report.items():
        if name in DAMAGES:
            for strength, row in rows.items():
                print(f"{name:<28}{strength:>9}{row['frechet']:10.1f}{row['kernel']:10.2f}")
        elif name != "clips":
            print(f"{name:<28}{'':>9}{rows['frechet']:10.1f}{rows['kernel']:10.2f}")
    print(f"\n{'seconds':<40}")
    for name, value in seconds.items():
        print(f"{name:<40}{value:9.3f}")


if __name__ == "__main__":
    main()
