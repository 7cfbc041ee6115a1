"""Animated photographs: do arrows arrive, loops close, still things stand still, and what does the command cost.

    python benchmarks/animate.py PHOTO [PHOTO ...] [--model sky] [--seeds 2] [--json]

Per photograph and seed, at a short side of 256 and with 64 frames:

- arrows: two random arrows of a tenth of the width; distance of the tracked end from the tip, relative to the arrow,
  and the share of pixels where the field folds.
- loop: mean difference between the last and the first rendered frame over the mean of that of neighbouring frames.
- still: largest change in grey levels, over all frames, within the lower half, which is told to stand still.

Then the command itself, on the first photograph enlarged to 1920x1080: seconds, processor seconds, peak memory.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from gendef.animation.animate import animate
from gendef.animation.prior import MotionPrior
from gendef.geometry import folded_share
from gendef.media.images import read_image, to_uint8

FRAMES, SIZE = 64, 256
ARROWS, LENGTH = 2, 0.1


def small(photo: Path) -> np.ndarray:
    """The photograph with a short side of `SIZE`."""
    image = read_image(photo).convert("RGB")
    scale = SIZE / min(image.size)
    return np.asarray(image.resize((round(image.width * scale), round(image.height * scale))))


def arrows_measured(photo: np.ndarray, prior: MotionPrior, seed: int) -> tuple[float, float]:
    """Largest relative error of the arrows, and the folded share of the field."""
    rng = np.random.default_rng(seed)
    height, width = photo.shape[:2]
    starts = rng.uniform((0.2 * width, 0.2 * height), (0.8 * width, 0.8 * height), (ARROWS, 2))
    angles = rng.uniform(0, 2 * np.pi, ARROWS)
    ways = LENGTH * width * np.stack((np.cos(angles), np.sin(angles)), axis=-1)
    tips = np.clip(starts + ways, 0, (width - 1, height - 1))
    everything = np.ones((height, width), bool)
    arrows = np.concatenate((starts, tips), axis=1)
    video = animate(photo, prior, seed=seed, frames=FRAMES, mask=everything, arrows=arrows)
    ends = video.track(starts, frame=0).positions[:, -1].numpy()
    error = np.linalg.norm(ends - tips, axis=1) / np.linalg.norm(tips - starts, axis=1)
    return float(error.max()), folded_share(video.deformation)


def loop_measured(photo: np.ndarray, prior: MotionPrior, seed: int) -> float:
    """Difference between the last and the first frame over that of neighbouring frames."""
    everything = np.ones(photo.shape[:2], bool)
    frames = to_uint8(animate(photo, prior, seed=seed, frames=FRAMES, mask=everything, loop=True).render()).astype(
        float
    )
    return float(np.abs(frames[-1] - frames[0]).mean() / np.abs(np.diff(frames, axis=0)).mean())


def still_measured(photo: np.ndarray, prior: MotionPrior, seed: int) -> float:
    """Largest change of the lower half."""
    still = np.zeros(photo.shape[:2], bool)
    still[len(still) // 2 :] = True
    frames = to_uint8(animate(photo, prior, seed=seed, frames=FRAMES, mask=~still).render()).astype(int)
    # The outline of the mask may move to an edge of the picture within this distance.
    below = frames[:, len(still) // 2 + max(still.shape) // 40 :]
    return float(np.abs(below - below[:1]).max())


def command_measured(photo: Path, model: str) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of the command, on 1920x1080 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        read_image(photo).convert("RGB").resize((1920, 1080), Image.Resampling.BICUBIC).save(path, quality=92)
        command = [sys.executable, "-m", "gendef", "animate", str(path), "--model", model, "--out", f"{folder}/clip"]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "gigabytes": round(used.ru_maxrss / 1e6, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--model", default="sky")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prior = MotionPrior.from_pretrained(options.model)
    rows = []
    for path in options.photos:
        photo = small(path)
        for seed in range(options.seeds):
            error, folded = arrows_measured(photo, prior, seed)
            loop, still = loop_measured(photo, prior, seed), still_measured(photo, prior, seed)
            rows.append(
                {"photo": path.stem, "seed": seed, "arrow_error": error, "folded": folded, "loop": loop, "still": still}
            )
            if not options.json:
                print(f"{path.stem:32.32s} seed {seed}: arrows {error:.3f}, folded {folded:.5f}", end="")
                print(f", loop {loop:.2f}, still {still:g}")
    command = command_measured(options.photos[0], options.model)
    if options.json:
        print(json.dumps({"photos": rows, "command": command, "cores": os.cpu_count(), "load": os.getloadavg()[0]}))
        return
    for name in ("arrow_error", "folded", "loop", "still"):
        values = [row[name] for row in rows]
        print(f"{name}: mean {np.mean(values):.4f}, largest {np.max(values):.4f}")
    print(f"1920x1080, {FRAMES} frames: {command}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
