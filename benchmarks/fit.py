"""Fitting real videos: what a fit reaches, what it costs, and how an edit of its canonical image holds together.

    python benchmarks/fit.py CLIP [CLIP ...] [--quality default] [--budget 60] [--frames 60] [--size 270]
        [--keep FOLDER] [--sheet sheet.png] [--json]

Every clip is fitted in a process of its own, so that `GB` is the peak memory of that fit, with torch. `cpu` is the
processor time of all threads: on a machine that does nothing else, with two cores, a fit takes a little more than half
of it; on a busy one the seconds on the clock say little. `after` is the PSNR of the frames after
so many seconds of processor time.

`plain` is the warping error of the video rendered without an edit over that of the input (the flow of the input for
both, `gendef.metrics.temporal`). `sepia` and `pencil` (`gendef.editing.filters`): the canonical image gets a look,
and the error is set against that of the input with the same look on every frame. `drawn`: the canonical image is drawn
on (a board of coloured squares over its middle), against the input as it is, so that sharp, strong lines have a larger
error than soft ones however well they move. `frames/s` is what `CanonicalVideo.render` does in a second of processor
time.

With --keep, fits and their reports are kept in that folder, and not made again when they are there.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from gendef import CanonicalVideo, fit_video
from gendef.editing.filters import edge, sepia
from gendef.fitting import Progress
from gendef.media.footage import read_footage, to_tensor
from gendef.media.images import to_uint8, write_image
from gendef.metrics.temporal import temporal
from gendef.runtime.parallel import available_cores
from gendef.visualization.drawing import contact_sheet

MARKS = (30, 60, 120, 240, 480)
"""Seconds of processor time at which PSNR is noted."""
SHEET_SIZE, SHEET_FRAMES = (284, 200), 3
REPORT = "benchmark.json"
SQUARES = ((230, 60, 40), (250, 210, 60), (40, 120, 220), (60, 180, 90))


class Curve:
    """PSNR against processor time."""

    def __init__(self) -> None:
        self.began, self.points = time.process_time(), []  # type: ignore[var-annotated]

    def __call__(self, progress: Progress) -> None:
        if progress.stage in ("refining", "done"):
            self.points.append((time.process_time() - self.began, progress.psnr))

    def after(self, seconds: float) -> float | None:
        """PSNR in dB when that much time was spent; None if it was not, or the first sweep was not done."""
        known = [quality for spent, quality in self.points if spent <= seconds]
        reached = bool(self.points) and self.points[-1][0] >= seconds
        return round(known[-1], 2) if known and reached else None


def fit_one(path: Path, folder: Path, options: argparse.Namespace) -> None:
    """Fit a clip into a folder, with its report; runs in a process of its own."""
    curve = Curve()
    clip = fit_video(
        path, options.size, 0, options.frames, options.quality, options.seed, budget=options.budget, on_progress=curve
    )
    report = {"clip": clip_name(path), "frames": clip.num_frames, "size": list(clip.size), **clip.report}
    report["cpu"] = time.process_time() - curve.began
    report["after"] = {str(mark): curve.after(mark) for mark in MARKS}
    report["memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    clip.save(folder)
    (folder / REPORT).write_text(json.dumps(report))


def clip_name(path: Path) -> str:
    """What to call a clip in the table."""
    return path.parent.name if path.stem in ("rgb", "frames", "img") else path.stem


def measure(path: Path, folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], CanonicalVideo]:
    """The report on one clip."""
    if not (folder / REPORT).exists():
        process = multiprocessing.get_context("spawn").Process(target=fit_one, args=(path, folder, options))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"the fit of {path} ended with status {process.exitcode}")
    clip = CanonicalVideo.load(folder)
    report = json.loads((folder / REPORT).read_text())
    footage = read_footage(path, options.size, 0, options.frames)
    source = max(footage.scenes, key=lambda scene: len(scene.frames)).frames
    image = clip.canonical
    edits: dict[str, tuple[Any, Any]] = {"plain": (image, None), "drawn": (board(*image.shape[1:]), None)}
    edits |= {"sepia": (sepia(image), sepia), "pencil": (edge(image), edge)}
    for name, (edit, look) in edits.items():
        report[name] = to_source(source, to_uint8(clip.with_canonical(edit).render()))
        if look:
            report[name] /= to_source(source, (to_uint8(look(frame)) for frame in to_tensor(source)))
    began, count = time.process_time(), 0
    while count == 0 or time.process_time() - began < 1:
        count += len(clip.render())
    report["render_rate"] = count / (time.process_time() - began)
    return report, clip


def to_source(source: list[np.ndarray], edited: Iterable[np.ndarray]) -> float:
    """Warping error of an edited video over that of its source; NaN if the source stands still."""
    return temporal(source, edited).summary()["edit_to_source"]


def board(height: int, width: int) -> Image.Image:
    """A drawing with sharp edges: coloured squares over the middle half of the canonical image, else transparent."""
    drawing = np.zeros((height, width, 4), np.uint8)
    y, x = np.mgrid[:height, :width]
    side = max(min(height, width) // 16, 1)
    colours = np.array(SQUARES, np.uint8)[(x // side + 2 * (y // side)) % len(SQUARES)]
    middle = (abs(y - height / 2) < height / 4) & (abs(x - width / 2) < width / 4)
    drawing[middle, :3], drawing[middle, 3] = colours[middle], 255
    return Image.fromarray(drawing)


def sheet_row(clip: CanonicalVideo) -> list[np.ndarray]:
    """The canonical image, rendered frames, and the last one with the drawing, each in a box of one size."""
    chosen = np.linspace(0, clip.num_frames - 1, SHEET_FRAMES).round().astype(int).tolist()
    drawn = clip.with_canonical(board(*clip.canonical.shape[1:]))
    frames = torch.cat((clip.render(frames=chosen), drawn.render(frames=chosen[-1:])))
    images = (to_uint8(clip.canonical), *to_uint8(frames))
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
    parser.add_argument("--keep", type=Path, help="folder for the fits")
    parser.add_argument("--sheet", type=Path, help="picture of canonical images, rendered frames and edited ones")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # of several scenes the longest is meant
    machine = f"{platform.processor() or platform.machine()}, {available_cores()} cores, torch {torch.__version__}"
    if not options.json:
        print(f"{machine}; {options.quality}, at most {options.frames} frames, short side {options.size}")
        print(
            f"{'clip':<24} {'frames':>6} {'size':>7} {'PSNR':>6} {'worst':>6} {'SSIM':>5} {'folded':>7} {'seen':>5} "
            f"{'shown':>6} {'ref':>5} {'s':>5} {'cpu s':>6} {'GB':>5} {'plain':>5} "
            f"{'sepia':>5} {'pencil':>6} {'drawn':>5} {'frames/s':>8}  PSNR after {', '.join(map(str, MARKS))} s cpu"
        )
    reports, rows = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for path in options.clips:
            row, clip = measure(path, (options.keep or Path(temporary)) / clip_name(path), options)
            reports.append(row)
            rows.append(sheet_row(clip))
            if options.sheet:
                write_image(options.sheet, contact_sheet(rows))
            if not options.json:
                print(line(row), flush=True)
    keys = ("psnr", "ssim", "seconds", "cpu", "plain", "sepia", "pencil", "drawn", "render_rate")
    means = {key: float(np.mean([row[key] for row in reports])) for key in keys}
    if options.json:
        print(json.dumps({"machine": machine, "quality": options.quality, "clips": reports, "mean": means}))
    else:
        print(
            f"mean PSNR {means['psnr']:.2f} dB, SSIM {means['ssim']:.3f}, {means['seconds']:.0f} s, "
            f"{means['cpu']:.0f} s of processor time; plain {means['plain']:.2f}, sepia {means['sepia']:.2f}, "
            f"pencil {means['pencil']:.2f}, drawn {means['drawn']:.2f}; {means['render_rate']:.0f} frames/s"
        )


def line(row: dict[str, Any]) -> str:
    """One clip's line of the table."""
    after = " ".join("-" if value is None else f"{value:.1f}" for value in row["after"].values())
    size = "{1}x{0}".format(*row["size"])
    return (
        f"{row['clip'][:24]:<24} {row['frames']:>6} {size:>7} {row['psnr']:6.2f} {row['psnr_min']:6.2f} "
        f"{row['ssim']:5.3f} {row['folded']:7.4f} {row['seen']:5.2f} {row['explained']:6.3f} "
        f"{row['reference_difference']:5.2f} {row['seconds']:5.0f} {row['cpu']:6.0f} {row['memory_gb']:5.2f} "
        f"{row['plain']:5.2f} {row['sepia']:5.2f} {row['pencil']:6.2f} {row['drawn']:5.2f} "
        f"{row['render_rate']:8.0f}  {after}"
    )


if __name__ == "__main__":
    main()
