"""Time and arithmetic of each phase of sampling a video."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gendef.bench.machine import describe, matmul_rate, timed
from gendef.kernels.registry import plain_forms
from gendef.media.images import to_uint8
from gendef.media.video_writer import VideoWriter
from gendef.model.compiled_fields import CompiledFields
from gendef.model.sampling import frames_at_once
from gendef.networks.generator import Content, Generator, Motion
from gendef.runtime.precision import name_of
from gendef.video.canonical_video import CanonicalVideo

PHASES = ("canonical", "once a video", "fields", "warp", "encode")
REFERENCE_FRAMES = 4


class SampledVideo:
    """One video of a generator, phase by phase."""

    def __init__(self, generator: Generator, frames: int, device: torch.device, *, compiled: bool = False) -> None:
        self.generator, self.frames, self.device = generator, frames, device
        self.chunk = frames_at_once(generator.resolution, device)
        self.deform_at: Callable[[Motion, torch.Tensor, torch.Tensor], torch.Tensor]
        self.deform_at = CompiledFields(generator, self.chunk) if compiled else generator.deform_at
        noise = torch.Generator().manual_seed(0)
        rows = generator.motion_noise_length(float(frames))
        self.z_content = torch.randn(1, generator.z_dim, generator=noise).to(device)
        self.z_motion = torch.randn(1, generator.z_dim, generator=noise).to(device)
        self.motion_noise = torch.randn(1, rows, generator.motion_dim, generator=noise).to(device)
        self.labels = torch.eye(generator.num_classes, device=device)[:1] if generator.num_classes else None

    def content(self) -> Content:
        return self.generator.content(self.z_content, self.labels, 1.0, self.motion_noise, torch.zeros(1))

    def motion(self, content: Content) -> Motion:
        return self.generator.motion(content, self.z_motion, self.labels)

    def fields(self, motion: Motion, frames: int) -> torch.Tensor:
        times = torch.arange(frames, dtype=torch.float32)
        parts = [
            self.deform_at(motion, self.motion_noise, times[None, start : start + self.chunk])[0]
            for start in range(0, frames, self.chunk)
        ]
        return torch.cat(parts)


@torch.no_grad()
def bench_sampling(
    generator: Generator,
    frames: int,
    *,
    runs: int = 3,
    reference: bool = True,
    compiled: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Time a generator on its device.

    Args:
        frames: length of the video.
        runs: number of timed videos, after one that is not counted; medians are reported.
        reference: also time the plain forms of all kernels (canonical image and a few frames), in the same run.
        compiled: have torch compile the network of the fields for the measured videos (not with the plain forms).
        on_step: called `steps(runs, reference)` times.

    Returns:
        Plain values: machine, seconds and GFLOP of each phase, frames a second, and ratios. "gflop" counts the products
        that are made, "gflop_direct" those of the layers' definition without what is shared: Winograd's convolutions
        make fewer.
    """
    device = next(generator.parameters()).device
    run = SampledVideo(generator, frames, device, compiled=compiled)
    seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
    edits = []
    for number in range(runs + 1):
        spent, edit = _one_video(run)
        if number:  # the first one warms up
            for phase in PHASES:
                seconds[phase].append(spent[phase])
            edits.append(edit)
        on_step()
    run.deform_at = generator.deform_at  # compiled networks hide what the counters below need
    rate = matmul_rate(device, generator.compute_dtype or torch.float32)
    medians = {phase: statistics.median(values) for phase, values in seconds.items()}
    work = _arithmetic(run)
    with plain_forms("conv2d"):
        defined = _arithmetic(run)
    total = sum(medians.values())
    report: dict[str, Any] = {
        "machine": describe(device),
        "precision": name_of(generator.compute_dtype),
        "compiled": compiled,
        "matmul_gflops": rate,
        "resolution": generator.resolution,
        "frames": frames,
        "parameters": sum(p.numel() for p in generator.parameters()),
        "seconds": medians,
        "spread": {phase: [min(values), max(values)] for phase, values in seconds.items()},
        "gflop": work,
        "gflop_direct": defined,
        "total_seconds": total,
        "frames_per_second": frames / total,
        "over_arithmetic": (total - medians["encode"]) / (sum(work.values()) / rate),
        "over_direct": (total - medians["encode"]) / (sum(defined.values()) / rate),
        "edit_frames_per_second": frames / statistics.median(edits),
    }
    if reference:
        report["reference"] = _reference(run, medians)
        on_step()
    return report


def steps(runs: int, reference: bool) -> int:
    """How often `bench_sampling` calls `on_step`."""
    return runs + 1 + reference


def _one_video(run: SampledVideo) -> tuple[dict[str, float], float]:
    """Seconds of each phase, and of rendering the video once more from a changed canonical image."""
    spent: dict[str, float] = {}
    spent["canonical"], content = timed(run.content, run.device)
    spent["once a video"], motion = timed(lambda: run.motion(content), run.device)
    spent["fields"], fields = timed(lambda: run.fields(motion, run.frames), run.device)
    spent["warp"], video = timed(lambda: run.generator.render(content, fields[None])[0], run.device)
    with tempfile.TemporaryDirectory() as folder:
        spent["encode"], _ = timed(lambda: _encode(video, Path(folder)), run.device)
    clip = CanonicalVideo(content.image[0].cpu(), fields.cpu()).with_canonical(-content.image[0].cpu())
    return spent, timed(lambda: sum(len(part) for part in clip.iter_frames()), torch.device("cpu"))[0]


def _encode(video: torch.Tensor, folder: Path) -> None:
    writer = VideoWriter(folder / "video.mp4", 25.0)
    for frame in to_uint8(video):
        writer.append(frame)
    writer.close()


def _arithmetic(run: SampledVideo) -> dict[str, float]:
    """GFLOP in convolutions and matrix products of each phase; that of fields grows with the frames."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the counter sees only its own thread
    try:
        with FlopCounterMode(display=False) as content_work:
            content = run.content()
        with FlopCounterMode(display=False) as motion_work:
            motion = run.motion(content)
        with FlopCounterMode(display=False) as field_work:
            run.fields(motion, 1)
    finally:
        torch.set_num_threads(threads)
    return {
        "canonical": content_work.get_total_flops() / 1e9,
        "once a video": motion_work.get_total_flops() / 1e9,
        "fields": field_work.get_total_flops() * run.frames / 1e9,
    }


def _reference(run: SampledVideo, fast: dict[str, float]) -> dict[str, float]:
    """Seconds with the plain forms of all kernels, scaled to the whole video, and their ratio to `fast`."""
    few = min(REFERENCE_FRAMES, run.frames)
    with plain_forms():
        canonical, content = timed(run.content, run.device)
        motion = run.motion(content)
        fields = timed(lambda: run.fields(motion, few), run.device)[0] * run.frames / few
    own = fast["canonical"] + fast["once a video"] + fast["fields"]
    return {
        "canonical_seconds": canonical,
        "fields_seconds": fields,
        "timed_frames": few,
        "canonical_ratio": canonical / fast["canonical"],
        "ratio": (canonical + fields) / own,
    }
