"""The output of a run: first lines, progress, and scalars in metrics.jsonl and TensorBoard."""

import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, TaskID, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from torch import Tensor, nn

from gendef.runtime.atomic_file import replacing
from gendef.training.distributed import SINGLE_PROCESS, Group
from gendef.training.run_folder import writing


def count_parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def checkpoint_bytes(parameters: int) -> int:
    """Approximate size of one checkpoint: weights, Adam's two moments and the moving average, in float32."""
    return 4 * parameters * 4


def describe(
    counts: dict[str, int], room: int, out: Path, data: str, precision: str, group: Group = SINGLE_PROCESS
) -> str:
    """The first lines of a run's output: data, networks, precision, threads, and disk space.

    Args:
        counts: parameters of each network, by its name.
        room: bytes that the checkpoints need.
    """
    several = f" in each of {group.size} processes" if group.size > 1 else ""
    networks = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items())
    return (
        f"data: {data}\nparameters: {networks}\nprecision: {precision}, "
        f"threads: {torch.get_num_threads()}{several}\ndisk: about {room / 1e6:.0f} MB of checkpoints in {out}"
    )


def drop_rows_after(path: Path, stage: str, step: int) -> None:
    """Remove the rows of `stage` after `step` from a metrics.jsonl, and a last line that was not written whole.

    A run that was killed continues at its last checkpoint and computes those steps again.
    """
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if _precedes(line, stage, step)]
    if kept != lines:
        with replacing(path) as temporary:
            temporary.write_text("".join(kept))


def _precedes(line: str, stage: str, step: int) -> bool:
    try:
        row = json.loads(line)
        return bool(row["stage"] != stage or row["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False  # cut off by a kill


class Progress(Protocol):
    """The attributes of a stage that a report needs; `Stage` has them."""

    step_number: int
    images_seen: int


class Reporter:
    """Progress line, metrics.jsonl and, if it is installed, TensorBoard.

    In a group of processes all of them collect scalars; the first one writes their means over the processes.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        total: int,
        start: Progress,
        unit: str,
        quiet: bool = False,
        group: Group = SINGLE_PROCESS,
    ) -> None:
        self.folder, self.stage, self.total, self.unit, self.group = folder, stage, total, unit, group
        self.quiet = quiet or not group.is_main
        self._sums: dict[str, list[float]] = {}
        self._pending: list[dict[str, Tensor]] = []
        self._start, self._start_images = time.monotonic(), start.images_seen
        self._last_line, self._written = 0.0, False
        self._bar = _progress_bar(total, start.images_seen, stage, self.quiet)
        self._board = _summary_writer(folder) if group.is_main else None
        self._file: TextIO | None = None
        if group.is_main:
            drop_rows_after(folder / "metrics.jsonl", stage, start.step_number)
            self._file = (folder / "metrics.jsonl").open("a")

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Collect one step's scalars."""
        self._pending.append(metrics)

    def due_estimate(self) -> bool:
        """Whether to print the estimate of time and memory now: once, after four steps."""
        return len(self._pending) == 4 and not self._sums and not self._written

    def estimate(self, images: int) -> str:
        """Estimated time of the rest of the stage and memory so far, from the first steps."""
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
        with writing(self.folder / "metrics.jsonl"):
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


def _progress_bar(total: int, done: int, stage: str, quiet: bool) -> tuple[ProgressBar, TaskID] | None:
    """A live bar where standard error is a terminal; elsewhere lines are printed instead."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return None
    columns = ("{task.description}", BarColumn(), "{task.percentage:.1f} %", "{task.fields[rate]}")
    bar = ProgressBar(*columns, TimeRemainingColumn(), "{task.fields[shown]}", console=console)
    task = bar.add_task(stage, total=total, completed=done, rate="", shown="")
    bar.start()
    return bar, task


def resident_bytes() -> int:
    """Peak resident memory of the process in bytes; 0 where the system does not report it."""
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
