"""The training run: both stages, resumable at any moment."""

import copy
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from gendef.data.archive import VideoArchive
from gendef.data.clips import ClipStream
from gendef.errors import ConfigError, TrainingError
from gendef.model.checkpoint import save_generator
from gendef.networks.baselines import AnyGenerator, PaintingGenerator, build_generator
from gendef.networks.generator import Generator
from gendef.runtime.atomic_file import replacing
from gendef.runtime.devices import choose_device
from gendef.runtime.precision import name_of
from gendef.training.checkpoint import checkpoint_paths, latest_checkpoint, save_checkpoint
from gendef.training.config import TrainConfig, first_difference
from gendef.training.discriminators import build_discriminator
from gendef.training.distributed import SINGLE_PROCESS, Group
from gendef.training.logging import Reporter, count_parameters, describe, preview
from gendef.training.micro_batch import MicroBatches
from gendef.training.presets import fit_to_data
from gendef.training.stages import Stage, build_stage

STAGES = ("pretrain", "finetune")
MAX_ROLLBACKS = 3
CHECK_EVERY = 16
"""Steps between two looks at the numbers: they stay on the device meanwhile."""
MAY_CHANGE = ("images",)
"""Stage fields that may differ when a run is continued."""


@dataclass(frozen=True)
class RunOptions:
    """Where and how long to run; unlike the configuration, these may differ every time."""

    out: Path
    stages: tuple[str, ...] = STAGES
    minutes: float | None = None
    snapshot_minutes: float = 10.0
    device: str = "auto"
    quiet: bool = False
    micro_batch: int | None = None
    """Samples of a process that are computed at once (`MicroBatches`), None for all."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stages that end when they have cost so many seconds (see `Stage.seconds`), however few images they saw."""


class Stopped(Exception):
    """The run was asked to stop; its state is saved."""


class Trainer:
    """Trains the configured stages into `options.out`; the same call continues an interrupted run.

    In a group of processes each makes a Trainer; only the first reads checkpoints, writes and speaks.
    """

    def __init__(self, config: TrainConfig, data: Path, options: RunOptions, group: Group = SINGLE_PROCESS) -> None:
        self.options, self.group, self.folder = options, group, options.out
        self._deadline = float("inf")
        self._stop = threading.Event()
        with group.collective_errors():
            self.micro_batches = MicroBatches(options.micro_batch)
            self.archive = VideoArchive(data)
            self.config = fit_to_data(config, self.archive.resolution, self.archive.num_classes)
            if not set(options.stages) & set(self.config.stages):
                raise ConfigError(f"{self.config.generator.model} has no stage {options.stages[0]}: leave --stage out")
            check_batch_sizes(self.config, options.stages, group)
            self.device = choose_device(options.device)
        with group.collective_errors():
            self._check_processes_agree()
            if group.is_main:
                self._save_config()

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    def _check_processes_agree(self) -> None:
        """
        Raises:
            ConfigError: another machine trains with other data or settings.
        """
        ours = [self.archive.fingerprint, _plain(self.config.to_dict()), self.options.stages]
        for rank, theirs in enumerate(self.group.gather(ours)):
            for what, mine, other in zip(("data", "settings", "stages"), ours, theirs, strict=True):
                if mine != other:
                    raise ConfigError(
                        f"process {rank} has other {what} than process {self.group.rank}: start all alike"
                    )

    def _save_config(self) -> None:
        """Save the configuration, or compare it with the one the run began with.

        Raises:
            ConfigError: it differs in something that would change the run.
        """
        path = self.folder / "config.yaml"
        ours = {"training": self.config.to_dict(), "data": self.archive.fingerprint}
        if path.exists():
            theirs = yaml.safe_load(path.read_text())
            # Fields that are younger than the run have their defaults.
            theirs["training"] = TrainConfig.from_dict(theirs["training"]).to_dict()
            started_stages = [name for name in STAGES if checkpoint_paths(self.checkpoints, name)]
            difference = first_difference(
                _comparable_settings(ours, started_stages), _comparable_settings(theirs, started_stages)
            )
            if difference:
                raise ConfigError(
                    f"{self.folder} holds a run with another {difference}:"
                    " continue it with the same settings, or choose another --out"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(yaml.safe_dump(_plain(ours), sort_keys=False))

    def run(self) -> None:
        """Train until the stages are done, the minutes are over, or the process is asked to stop.

        Raises:
            Stopped: asked to stop; the state is saved. TrainingError: the run diverged again and again, or a step does
                not fit the memory.
        """
        if self.options.minutes is not None:
            self._deadline = time.monotonic() + self.options.minutes * 60
        with stop_signals(self._stop):
            for name in self.options.stages:
                if name in self.config.stages:
                    self._run_stage(name)

    def _run_stage(self, name: str) -> None:
        torch.manual_seed(self.config.seed)
        stage = self.build(name)
        self._announce(stage)
        rollbacks = 0
        while not self._complete(stage):
            try:
                self._advance(stage, rollbacks)
            except FloatingPointError:
                rollbacks += 1
                state = self._latest(name)
                if rollbacks > MAX_ROLLBACKS or not state:
                    with self.group.collective_errors():
                        raise TrainingError(
                            f"{name} diverged at {stage.images_seen} images and {rollbacks - 1} roll-backs did not"
                            " help: lower the learning rates"
                        ) from None
                self._print(f"{name} diverged at {stage.images_seen} images: back to the last checkpoint")
                stage.load_state_dict(state)
                # Another path through the noise; the same one would end in the same place.
                stage.noise.manual_seed(self.config.seed + 1000 * rollbacks)
        self._print(f"{name} is complete: {stage.images_seen} {_unit(stage)}")

    def _complete(self, stage: Stage) -> bool:
        """Whether `stage` has seen all its images, or cost all its seconds."""
        spent = stage.seconds >= self.options.seconds.get(stage.name, float("inf"))
        return spent or stage.images_seen >= stage.settings.images

    def build(self, name: str) -> Stage:
        """The stage called `name`, as its newest checkpoint left it or as the stage before prepared it."""
        with self.group.collective_errors():
            generator, discriminator = (
                build_generator(self.config.generator),
                build_discriminator(self.config, self.micro_batches),
            )
        state = self._latest(name)
        if name == "finetune" and not state:
            self._start_from_pretrained(generator, discriminator)
        stage = build_stage(name, self.config, generator, discriminator, self.device, self.group)
        # Other machines may draw other initial weights from the same seed.
        stage.load_state_dict(state or self.group.from_first(stage.state_dict))
        return stage

    def _latest(self, name: str) -> dict[str, Any]:
        """The newest state of a stage, read by the first process for all; empty before the first."""
        return self.group.from_first(lambda: latest_checkpoint(self.checkpoints, name) or {})

    def _announce(self, stage: Stage) -> None:
        """Say what the run needs and where it is; a fresh stage is saved, so that a roll-back has a target."""
        counts = {
            "generator": count_parameters(stage.generator),
            "discriminator": count_parameters(stage.discriminator),
        }
        data = f"{self.archive.path}, {self.archive.num_clips} clips, {self.archive.num_frames} frames"
        precision = name_of(stage.dtype)
        with self.group.collective_errors():
            self._print(describe(self.config, counts, self.folder, data, precision, self.group))
            if stage.images_seen:
                self._print(f"{stage.name} continues at {stage.images_seen} {_unit(stage)}")
            elif self.group.is_main:
                save_checkpoint(self.checkpoints, stage.name, 0, stage.state_dict())

    def stream(self, stage: Stage, attempt: int = 0) -> ClipStream:
        """The clips that `stage` sees; another `attempt` sees them in another order."""
        return ClipStream(
            self.archive,
            self.group.local_batch_size(f"{stage.name}.batch_size", stage.settings.batch_size),
            self.config.seed + 1000 * attempt,
            stage.num_frames,
            max_distance=self.config.max_distance,
            mirror=self.config.mirror,
            rank=self.group.rank,
            world_size=self.group.size,
        )

    def _start_from_pretrained(self, generator: AnyGenerator, discriminator: Any) -> None:
        """Take the averaged canonical generator and the discriminator of stage 1, if it has run."""
        state = self._latest("pretrain")
        if not state:
            self._print("finetune starts without pretraining")
            return
        content = ("mapping.", "canonical.", "canonical_motion_encoder.", "motion_mask")
        known = {name: value for name, value in state["average"].items() if name.startswith(content)}
        generator.load_state_dict({**generator.state_dict(), **known})
        discriminator.load_state_dict(state["discriminator"])
        discriminator.start_video()

    def _advance(self, stage: Stage, attempt: int) -> None:
        """Train `stage` to its end.

        Raises:
            FloatingPointError: a loss is no longer finite. Stopped: asked to stop. TrainingError: a step does not fit.
        """
        settings = stage.settings
        stream = self.stream(stage, attempt)
        reporter = Reporter(
            self.folder, stage.name, settings.images, stage.images_seen, _unit(stage), self.options.quiet, self.group
        )
        snapshot_due = time.monotonic() + self.options.snapshot_minutes * 60
        batches = stream.iterate(stage.step_number)
        clock = time.process_time if self.device.type == "cpu" else time.monotonic
        began, before = clock(), stage.seconds
        try:
            while not self._complete(stage):
                clips, times = next(batches), stream.sample_times(stage.step_number)
                try:
                    reporter.add(stage.step(clips, times))
                except RuntimeError as error:
                    if not _out_of_memory(error):
                        raise
                    raise TrainingError(self._too_large(stage.name)) from error
                stopping, spent = self._agree(clock() - began)
                stage.seconds = before + spent
                if reporter.due_estimate():
                    self._print(reporter.estimate(stage.images_seen))
                done = self._complete(stage)
                if stage.step_number % CHECK_EVERY == 0 or done or stopping:
                    if not reporter.finite():
                        raise FloatingPointError
                    reporter.line(stage.images_seen, reporter.write(stage.images_seen, stage.step_number))
                if done or stopping or time.monotonic() > snapshot_due:
                    self._snapshot(stage)
                    snapshot_due = time.monotonic() + self.options.snapshot_minutes * 60
                if stopping and not done:
                    raise Stopped(f"stopped at {stage.images_seen} {_unit(stage)}; the same command continues")
        finally:
            batches.close()  # type: ignore[attr-defined]
            reporter.close()

    def _agree(self, spent: float) -> tuple[bool, float]:
        """Whether any process was asked to stop, and what all have spent: seconds of processors, or of the clock."""
        asked = self._stop.is_set() or time.monotonic() > self._deadline or self.group.launcher_has_ended()
        stops, total = self.group.total([float(asked), spent])
        return stops > 0, total if self.device.type == "cpu" else total / self.group.size

    def _snapshot(self, stage: Stage) -> None:
        if not self.group.is_main:
            return
        average = stage.average
        assert isinstance(average, Generator | PaintingGenerator)
        save_checkpoint(self.checkpoints, stage.name, stage.step_number, stage.state_dict())
        info = {
            "stage": stage.name,
            "images_seen": stage.images_seen,
            "seconds": round(stage.seconds, 1),
            "data_fingerprint": self.archive.fingerprint,
            "fps": sum(self.archive.fps) / len(self.archive.fps),
            "classes": self.archive.classes,
        }
        save_generator(self.folder / ("model" if stage.name == "finetune" else "pretrained"), average, info)
        preview(average, self.folder / "previews", stage.name, stage.images_seen, self.config.seed)

    def _too_large(self, name: str) -> str:
        """What to do about a step of stage `name` that does not fit the memory."""
        share = self.group.local_batch_size(f"{name}.batch_size", getattr(self.config, name).batch_size)
        now = min(self.options.micro_batch or share, share)
        if now > 1:
            return (
                f"a step of {name} does not fit the memory of {self.device}: continue with --micro-batch {now // 2}"
                f" (now {now})"
            )
        return f"one {'image' if name == 'pretrain' else 'clip'} does not fit the memory of {self.device}"

    def _print(self, text: str) -> None:
        if self.group.is_main and not self.options.quiet:
            print(text, file=sys.stderr, flush=True)


def check_batch_sizes(config: TrainConfig, stages: tuple[str, ...], group: Group) -> None:
    """
    Raises:
        ConfigError: the batch of a stage cannot be shared by the group.
    """
    for name in set(stages) & set(config.stages):
        group.local_batch_size(f"{name}.batch_size", getattr(config, name).batch_size)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _unit(stage: Stage) -> str:
    return "images" if stage.num_frames == 1 else "clips"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _comparable_settings(saved: dict[str, Any], started_stages: list[str]) -> dict[str, Any]:
    """Settings without stages that have not started and without fields that may change (`MAY_CHANGE`)."""
    comparable = copy.deepcopy(saved)
    for stage in STAGES:
        if stage not in started_stages:
            comparable["training"].pop(stage)
            continue
        for name in MAY_CHANGE:
            comparable["training"][stage].pop(name, None)
    return comparable


class stop_signals:
    """While active, the first Ctrl-C or SIGTERM sets the event; a second one interrupts as usual."""

    def __init__(self, event: threading.Event) -> None:
        self.event = event
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return

        def handle(number: int, frame: Any) -> None:
            if self.event.is_set():
                raise KeyboardInterrupt
            self.event.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, handle)

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
