"""What a run tells: its start, its progress, scalars on file, and previews to look at."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TimeRemainingColumn
from torch import Tensor, nn

from gendef.errors import ConfigError
from gendef.media.images import to_uint8, write_image
from gendef.media.video_writer import write_video
from gendef.networks.baselines import AnyGenerator
from gendef.networks.generator import Generator
from gendef.training.config import TrainConfig
from gendef.training.distributed import SINGLE_PROCESS, Group
from gendef.visualization.drawing import contact_sheet


def count_parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def checkpoint_bytes(parameters: int) -> int:
    """About the bytes of one checkpoint: weights, two moments and the average, in float32."""
    return 4 * parameters * 4


def describe(
    config: TrainConfig, counts: dict[str, int], out: Path, data: str, precision: str, group: Group = SINGLE_PROCESS
) -> str:
    """What the run is about to use, for the first lines of its output.

    Raises:
        ConfigError: the disk cannot hold the checkpoints.
    """
    size = checkpoint_bytes(sum(counts.values()))
    free = shutil.disk_usage(out).free
    if free < 3 * size:
        raise ConfigError(f"{out} has {free / 1e6:.0f} MB left, but checkpoints need {3 * size / 1e6:.0f} MB")
    several = f" in each of {group.size} processes" if group.size > 1 else ""
    networks = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items())
    return (
        f"data: {data}\nparameters: {networks}\nprecision: {precision}, "
        f"threads: {torch.get_num_threads()}{several}\ndisk: about {3 * size / 1e6:.0f} MB of checkpoints in {out}"
    )


class Reporter:
    """Progress line, metrics.jsonl and, where it is installed, TensorBoard.

    In a group of processes all collect, scalars are means over them, and the first one writes.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        total: int,
        done: int,
        unit: str,
        quiet: bool = False,
        group: Group = SINGLE_PROCESS,
    ) -> None:
        self.folder, self.stage, self.total, self.unit, self.group = folder, stage, total, unit, group
        self.quiet = quiet or not group.is_main
        self._sums: dict[str, list[float]] = {}
        self._pending: list[dict[str, Tensor]] = []
        self._start, self._start_images = time.monotonic(), done
        self._last_line, self._written = 0.0, False
        self._bar = _progress_bar(total, done, stage, self.quiet)
        self._board = _summary_writer(folder) if group.is_main else None
        self._file = (folder / "metrics.jsonl").open("a") if group.is_main else None

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Collect one step's scalars."""
        self._pending.append(metrics)

    def due_estimate(self) -> bool:
        """Whether this is the moment to state what the run needs: after a few steps, once."""
        return len(self._pending) == 4 and not self._sums and not self._written

    def estimate(self, images: int) -> str:
        """Time and memory of the whole stage, from the first steps."""
        rate = (images - self._start_images) / max(time.monotonic() - self._start, 1e-9)
        left = clock((self.total - images) / rate)
        memory = resident_bytes() / 1e6
        several = f" in each of {self.group.size} processes" if self.group.size > 1 else ""
        return f"estimated: {left} for {self.total} {self.unit} at {rate:.1f}/s; memory {memory:.0f} MB{several} so far"

    def finite(self) -> bool:
        """Whether all collected scalars are finite in all processes; moves them off the device."""
        names = [name for metrics in self._pending for name in metrics]
        if not names:
            return True
        values = torch.stack([value.detach().float() for metrics in self._pending for value in metrics.values()])
        self.group.average_([values])
        self._pending.clear()
        numbers = values.tolist()
        for name, number in zip(names, numbers, strict=True):
            self._sums.setdefault(name, []).append(number)
        return bool(np.isfinite(numbers).all())

    def write(self, images: int, step: int) -> dict[str, float]:
        """Write the means since the last call to metrics.jsonl and TensorBoard."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items()}
        self._sums.clear()
        self._written = True
        elapsed = time.monotonic() - self._start
        rate = (images - self._start_images) / max(elapsed, 1e-9)
        if self._file is None:
            return means
        row = {"stage": self.stage, "images": images, "step": step, "per_second": round(rate, 2), **means}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(f"{self.stage}/{name}", value, images)
        return means

    def line(self, images: int, means: dict[str, float], every: float = 10.0) -> None:
        """Print progress with speed and time left, at most every `every` seconds."""
        now = time.monotonic()
        rate = (images - self._start_images) / max(now - self._start, 1e-9)
        shown = "  ".join(f"{name} {value:.3g}" for name, value in sorted(means.items()) if name in SHOWN)
        if self._bar is not None:
            self._bar[0].update(self._bar[1], completed=images, rate=f"{rate:.1f} {self.unit}/s", shown=shown)
            return
        if self.quiet or (now - self._last_line < every and images < self.total):
            return
        self._last_line = now
        left = (self.total - images) / rate if rate else float("inf")
        print(
            f"{self.stage} {images}/{self.total} {self.unit} ({100 * images / self.total:.1f} %)"
            f"  {rate:.1f}/s  {clock(left)} left  {shown}",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        if self._bar is not None:
            self._bar[0].stop()
        if self._board is not None:
            self._board.close()


SHOWN = {
    "loss",
    "l1",
    "lpips",
    "loss_d",
    "loss_g",
    "logit_real",
    "logit_fake",
    "ada_p",
    "field_pixels",
    "flow_pixels",
    "folded",
}


def _progress_bar(total: int, done: int, stage: str, quiet: bool) -> tuple[Progress, TaskID] | None:
    """A live bar where standard error is a terminal; elsewhere lines are printed instead."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return None
    columns = ("{task.description}", BarColumn(), "{task.percentage:.1f} %", "{task.fields[rate]}")
    bar = Progress(*columns, TimeRemainingColumn(), "{task.fields[shown]}", console=console)
    task = bar.add_task(stage, total=total, completed=done, rate="", shown="")
    bar.start()
    return bar, task


def resident_bytes() -> int:
    """Largest memory the process has held so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    if not np.isfinite(seconds):
        return "?"
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))


@torch.no_grad()
def preview(generator: AnyGenerator, folder: Path, stage: str, images: int, seed: int, fps: float = 25.0) -> None:
    """Write a sheet of images (stage 1), or a sheet and an mp4 of clips (stage 2), from fixed seeds."""
    device = next(generator.parameters()).device
    noise = torch.Generator().manual_seed(seed)
    count = 24 if stage == "pretrain" else 6
    labels = None
    if generator.num_classes:
        labels = torch.eye(generator.num_classes)[torch.arange(count) % generator.num_classes].to(device)
    z_content = torch.randn(count, generator.z_dim, generator=noise).to(device)
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / f"{stage}-{images:08d}"
    if stage == "pretrain":
        pictures = to_uint8(generator.images(z_content, labels))
        write_image(name.with_suffix(".png"), contact_sheet([list(pictures[i : i + 8]) for i in range(0, count, 8)]))
        return
    frames = 48
    z_motion = torch.randn(count, generator.z_dim, generator=noise).to(device)
    rows_of_noise = generator.motion_noise_length(frames - 1)
    motion = torch.randn(count, rows_of_noise, generator.motion_dim, generator=noise).to(device)
    videos, first = [], None
    for start in range(0, frames, 8):
        times = torch.arange(start, start + 8.0, device=device).expand(count, -1)
        if isinstance(generator, Generator):
            out = generator(z_content, z_motion, motion, times, labels=labels)
            first = to_uint8(out.canonical)
            videos.append(to_uint8(out.video))
        else:
            videos.append(to_uint8(generator(z_content, motion, times, labels=labels)))
    video = np.concatenate(videos, axis=1)
    shown = video[:, :: frames // 8]
    rows = [list(clip) if first is None else [first[i], *clip] for i, clip in enumerate(shown)]
    write_image(name.with_suffix(".png"), contact_sheet(rows))
    sheets = (contact_sheet([list(video[:3, t]), list(video[3:, t])]) for t in range(frames))
    write_video(name.with_suffix(".mp4"), sheets, fps)
