"""Tracking points: how exact it is on motions whose inverse is known, and how fast.

    python benchmarks/track.py [--points 1000] [--frames 128] [--size 256] [--json]

Points are spread over the canonical image, or over the middle frame; the error is the distance, in pixels, between
where a point is found in a frame and where it truly is, over all points and frames that show it at least a pixel from
the border. Seconds are the best of three runs of `CanonicalVideo.track` for all points and frames, by the clock and of
the processors; on a machine with other work the latter say more.
"""

import argparse
import itertools
import json
import platform
import time

import torch
from torch import Tensor

from gendef import CanonicalVideo
from gendef.geometry import identity_grid, image_flow, to_normalised, to_pixels

KINDS = ("translation", "rotation", "zoom", "sine")


def turned(x: Tensor, angle: Tensor) -> Tensor:
    """Positions (..., 2) turned by angles (...)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]), dim=-1)


def moved(kind: str, x: Tensor, time: Tensor, back: bool = False) -> Tensor:
    """Where frame position x (..., 2) at time (...) in [0, 1] looks; with `back`, the inverse of that."""
    t = time[..., None]
    if kind == "translation":
        return x + (-t if back else t) * torch.tensor([0.3, -0.2], dtype=x.dtype)
    if kind == "rotation":
        return turned(x, -0.8 * time if back else 0.8 * time)
    if kind == "zoom":
        return x / (1 - 0.6 * t) if back else x * (1 - 0.6 * t)
    wave = 0.1 * time * torch.sin(6 * x[..., 1] + 3 * time)
    return torch.stack((x[..., 0] + (-wave if back else wave), x[..., 1]), dim=-1)


def measure(kind: str, start_frame: int | None, options: argparse.Namespace) -> dict[str, float]:
    """Errors and seconds for one motion, with points on the canonical image (None) or on a frame."""
    size = (options.size, options.size)
    grid = identity_grid(*size, dtype=torch.float64)
    times = torch.linspace(0, 1, options.frames, dtype=torch.float64)
    field = torch.stack([(moved(kind, grid, t.expand(size)) - grid).float() for t in times])
    video = CanonicalVideo(torch.zeros(3, *size), field)
    points = torch.rand(options.points, 2, generator=torch.Generator().manual_seed(0)) * (options.size - 1)
    seconds, processor = [], []
    for _ in range(3):
        start, start_processor = time.perf_counter(), time.process_time()
        found = video.track(points, start_frame)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    where = to_normalised(points.double(), size)
    if start_frame is not None:
        where = moved(kind, where, times[start_frame].expand(len(where)))
    where = where[:, None].expand(-1, options.frames, -1)
    truth = to_pixels(moved(kind, where, times.expand(options.points, -1), back=True), size).float()
    shown = ((truth > 1) & (truth < options.size - 2)).all(dim=-1)
    error = (found.positions - truth)[shown].norm(dim=-1)
    return {
        "largest_error": float(error.max()),
        "mean_error": float(error.mean()),
        "missed": float((~found.visible[shown]).float().mean()),
        "seconds": min(seconds),
        "processor_seconds": min(processor),
        "flow_seconds_a_frame": flow_seconds(field[:9]),
    }


def flow_seconds(field: Tensor) -> float:
    """Seconds for the dense image flow of one pair of frames."""
    start = time.perf_counter()
    image_flow(field)
    return (time.perf_counter() - start) / (len(field) - 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    places = {"canonical image": None, "middle frame": options.frames // 2}
    report = {
        f"{kind}, {name}": measure(kind, frame, options)
        for kind, (name, frame) in itertools.product(KINDS, places.items())
    }
    if options.json:
        print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), **report}))
        return
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{options.points} points in {options.frames} frames of {options.size}x{options.size}")
    heads = f"{'motion, points on':<28} {'largest':>9} {'mean':>9} {'missed':>7} {'seconds':>8} {'processor':>9}"
    print(f"{heads} {'flow s/frame':>13}")
    for kind, row in report.items():
        print(
            f"{kind:<28} {row['largest_error']:9.5f} {row['mean_error']:9.5f} {row['missed']:7.4f} "
            f"{row['seconds']:8.2f} {row['processor_seconds']:9.2f} {row['flow_seconds_a_frame']:13.3f}"
        )


if __name__ == "__main__":
    main()
