"""Speed of the data path: preparing an archive, reading its frames, drawing training batches.

python benchmarks/data.py                      synthetic 456x256 videos, 64x64 archive
python benchmarks/data.py VIDEO... --resolution 128 --workers 2
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from gendef.data import PrepareConfig, prepare

# torch is imported where it is used, as in the program itself: worker processes import this file again.

TARGET_FRAMES_PER_SECOND = 300
"""Uncached reading on one core, so that no training waits for its data."""


def synthetic_video(path: Path, seed: int, frames: int = 300, height: int = 256, width: int = 456) -> None:
    """A camera moving over noise of all scales, H.264."""
    import av

    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width + frames, 3))
    for size in (4, 8, 16, 32, 64, 128):
        noise = rng.integers(0, 256, (max(2, height // size), max(2, (width + frames) // size), 3), np.uint8)
        scaled = Image.fromarray(noise).resize((width + frames, height), Image.Resampling.BICUBIC)
        picture += np.asarray(scaled, float) / 6
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(frames):
            image = np.ascontiguousarray(picture[:, index : index + width].astype(np.uint8))
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def rate(work: Callable[[], int], seconds: float = 2.0) -> float:
    """Units a second of `work`, which returns how many units it did; the median of its runs."""
    work()
    rates, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(rates) < 3:
        start = time.perf_counter()
        units = work()
        rates.append(units / (time.perf_counter() - start))
    return float(np.median(rates))


def measure(videos: list[Path], resolution: int, workers: int, folder: Path) -> dict[str, float]:
    """Frames (or clips) a second of every step."""
    from gendef.data import ClipStream, VideoArchive

    config = PrepareConfig(resolution=resolution)
    results = {}
    for count in sorted({1, workers}):
        report = prepare(videos, folder / "set.zip", config, workers=count)
        results[f"prepare, {count} workers, frames/s"] = report.num_frames / report.seconds
    rng = np.random.default_rng(0)
    for name, cache in (("uncached", 0), ("cached", 10**10)):
        archive = VideoArchive(folder / "set.zip", cache)
        for clip in range(archive.num_clips if cache else 0):
            archive.read_frames(clip, range(archive.lengths[clip]))

        def read(archive: VideoArchive = archive) -> int:
            clip = int(rng.integers(archive.num_clips))
            archive.read_frames(clip, rng.integers(archive.lengths[clip], size=64).tolist())
            return 64

        results[f"read, {name}, frames/s"] = rate(read)
        for frames in (1, 3):
            stream, steps = ClipStream(archive, 32, 0, frames), iter(range(10**9))
            results[f"batches of {frames}-frame clips, {name}, clips/s"] = rate(
                lambda stream=stream, steps=steps: len(stream.batch(next(steps)).video)
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, help="videos to prepare; default: four synthetic ones")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = arguments.videos or [folder / f"{seed}.mp4" for seed in range(4)]
        if not arguments.videos:
            for seed, path in enumerate(videos):
                synthetic_video(path, seed)
        results = measure(videos, arguments.resolution, arguments.workers, folder)
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python"
        f" {platform.python_version()}, torch {torch.__version__}, Pillow {PIL.__version__};"
        f" {arguments.resolution}x{arguments.resolution}"
    )
    for name, value in results.items():
        print(f"{name:<48}{value:>9.0f}")
    ratio = results["read, uncached, frames/s"] / TARGET_FRAMES_PER_SECOND
    print(f"{'read, uncached, against the target of 300/s':<48}{ratio:>8.1f}x")


if __name__ == "__main__":
    main()
