"""Fitting real videos: PSNR, SSIM and what else a fit reports, and PSNR against time.

    python benchmarks/fit.py CLIP [CLIP ...] [--quality default] [--budget 60] [--frames 60] [--size 270]
        [--sheet sheet.png] [--json]

`cpu` is the processor time of all threads: on a machine that does nothing else, with two cores, a fit takes a little
more than half of it; on a busy one the seconds on the clock say little. `after` is the PSNR of the frames at full
resolution after so many seconds of processor time.
"""

import argparse
import json
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from gendef import CanonicalVideo, fit_video
from gendef.fitting.fit import Moment
from gendef.fitting.workers import available_cores
from gendef.media.drawing import contact_sheet, write_image
from gendef.media.video import to_uint8

MARKS = (30, 60, 120, 240, 480)
"""Seconds of processor time at which PSNR is noted."""
SHEET_SIZE, SHEET_FRAMES = (284, 200), 4


class Curve:
    """PSNR against processor time."""

    def __init__(self) -> None:
        self.began, self.points = time.process_time(), []  # type: ignore[var-annotated]

    def __call__(self, moment: Moment) -> None:
        if moment.stage in ("full resolution", "done"):
            self.points.append((time.process_time() - self.began, moment.psnr))

    def after(self, seconds: float) -> float | None:
        """PSNR in dB when that much time was spent; None if it was not, or the fit had not come to full resolution."""
        known = [quality for spent, quality in self.points if spent <= seconds]
        reached = bool(self.points) and self.points[-1][0] >= seconds
        return round(known[-1], 2) if known and reached else None


def measure(path: Path, options: argparse.Namespace) -> tuple[dict[str, Any], CanonicalVideo]:
    """The report on one clip."""
    curve = Curve()
    clip = fit_video(
        path, options.size, 0, options.frames, options.quality, options.seed, budget=options.budget, watcher=curve
    )
    name = path.parent.name if path.stem in ("rgb", "frames", "img") else path.stem
    report = {"clip": name, "frames": clip.num_frames, "size": list(clip.size), **clip.report}
    report["cpu"] = time.process_time() - curve.began
    report["after"] = {str(mark): curve.after(mark) for mark in MARKS}
    report["memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return report, clip


def sheet_row(clip: CanonicalVideo) -> list[np.ndarray]:
    """The canonical image and rendered frames, each in a box of one size."""
    chosen = np.linspace(0, clip.num_frames - 1, SHEET_FRAMES).round().astype(int).tolist()
    images = (to_uint8(clip.canonical), *to_uint8(clip.render(frames=chosen)))
    return [np.asarray(ImageOps.pad(Image.fromarray(image), SHEET_SIZE, color="white")) for image in images]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--quality", default="default", choices=["fast", "default", "best"])
    parser.add_argument("--budget", type=float, help="seconds for each clip")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, default=270)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="picture of canonical images and rendered frames")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = f"{platform.processor() or platform.machine()}, {available_cores()} cores, torch {torch.__version__}"
    if not options.json:
        print(f"{machine}; {options.quality}, {options.frames} frames, short side {options.size}")
        print(
            f"{'clip':<24} {'frames':>6} {'PSNR':>6} {'worst':>6} {'SSIM':>5} {'folded':>7} {'seen':>5} {'shown':>6} "
            f"{'ref':>5} {'s':>5} {'cpu s':>6} {'GB':>5}  PSNR after {', '.join(map(str, MARKS))} s cpu"
        )
    reports, rows = [], []
    for path in options.clips:
        row, clip = measure(path, options)
        reports.append(row)
        rows.append(sheet_row(clip))
        if options.sheet:
            write_image(options.sheet, contact_sheet(rows))
        if not options.json:
            after = " ".join("-" if value is None else f"{value:.1f}" for value in row["after"].values())
            print(
                f"{row['clip'][:24]:<24} {row['frames']:>6} {row['psnr']:6.2f} {row['psnr_min']:6.2f} "
                f"{row['ssim']:5.3f} {row['folded']:7.4f} {row['seen']:5.2f} {row['explained']:6.3f} "
                f"{row['reference_difference']:5.2f} {row['seconds']:5.0f} {row['cpu']:6.0f} {row['memory_gb']:5.2f}  "
                f"{after}",
                flush=True,
            )
    means = {key: float(np.mean([row[key] for row in reports])) for key in ("psnr", "ssim", "seconds", "cpu")}
    if options.json:
        print(json.dumps({"machine": machine, "quality": options.quality, "clips": reports, "mean": means}))
    else:
        print(
            f"mean PSNR {means['psnr']:.2f} dB, SSIM {means['ssim']:.3f}, {means['seconds']:.0f} s, "
            f"{means['cpu']:.0f} s of processor time"
        )


if __name__ == "__main__":
    main()
