"""The training run: both stages (GenDeF, section 3.4), resumable at any moment."""

import contextlib
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from gendef.data.archive import VideoArchive
from gendef.data.clips import ClipStream
from gendef.errors import ConfigError, TrainingError
from gendef.model.checkpoint import save_generator
from gendef.networks.baselines import AnyGenerator, BaselineGenerator, build_generator
from gendef.networks.generator import Generator
from gendef.runtime.devices import choose_device
from gendef.runtime.precision import name_of
from gendef.training.checkpoint import is_finite, latest_checkpoint, save_checkpoint
from gendef.training.config import TrainConfig
from gendef.training.discriminators import build_discriminator
from gendef.training.distributed import SINGLE_PROCESS, Group
from gendef.training.logging import Reporter, checkpoint_bytes, count_parameters, describe
from gendef.training.micro_batch import MicroBatches
from gendef.training.presets import fit_to_data
from gendef.training.preview import preview
from gendef.training.run_folder import RunFolder, plain, writing
from gendef.training.run_options import RunOptions, check_batch_sizes
from gendef.training.stages import Stage, build_stage
from gendef.training.stop_signals import StopSignals

_log = logging.getLogger(__name__)

MAX_ROLLBACKS = 3
CHECK_EVERY = 16
"""Steps between two checks of the losses; between checks they stay on the device, so that it does not wait."""


class Stopped(Exception):
    """The run was asked to stop; its state is saved."""


class Trainer:
    """Trains the configured stages into `options.out`; the same call continues an interrupted run.

    Each process of a group makes a Trainer; only the first one reads and writes files and prints.
    """

    def __init__(self, config: TrainConfig, data: Path, options: RunOptions, group: Group = SINGLE_PROCESS) -> None:
        self.options, self.group, self.folder = options, group, options.out
        self._deadline = float("inf")
        self._stop = threading.Event()
        with group.collective_errors():
            self.micro_batches = MicroBatches(options.micro_batch)
            self.archive = VideoArchive(data, on_damage=self._warn)
            self.config = fit_to_data(config, self.archive.resolution, self.archive.num_classes)
            if not set(options.stages) & set(self.config.stages):
                raise ConfigError(f"{self.config.generator.model} has no stage {options.stages[0]}: leave --stage out")
            check_batch_sizes(self.config, options.stages, group)
            self.device = choose_device(options.device)
        self.run_folder = RunFolder(options.out, self.config, self.archive.fingerprint)
        with group.collective_errors():
            self._check_processes_agree()
            if group.is_main:
                self.run_folder.check_config()

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.run_folder.checkpoints

    def _check_processes_agree(self) -> None:
        """
        Raises:
            ConfigError: another process has other data or settings.
        """
        ours = [self.archive.fingerprint, plain(self.config.to_dict()), self.options.stages]
        for rank, theirs in enumerate(self.group.gather(ours)):
            for what, mine, other in zip(("data", "settings", "stages"), ours, theirs, strict=True):
                if mine != other:
                    raise ConfigError(
                        f"process {rank} has other {what} than process {self.group.rank}: start all alike"
                    )

    def run(self) -> None:
        """Train until the stages are done, the minutes are over, or the process is asked to stop.

        Raises:
            Stopped: asked to stop; the state is saved.
            ConfigError: another process trains into the same folder, or the disk cannot hold the checkpoints.
            TrainingError: the run diverged again after `MAX_ROLLBACKS` roll-backs, or a step runs out of memory.
            CheckpointError: a file cannot be written, or no checkpoint of a started stage can be read.
        """
        if self.options.minutes is not None:
            self._deadline = time.monotonic() + self.options.minutes * 60
        with contextlib.ExitStack() as stack:
            with self.group.collective_errors():
                if self.group.is_main:
                    stack.enter_context(self.run_folder.locked(self._warn))
                    self.run_folder.write_config()
            stack.enter_context(StopSignals(self._stop))
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
                self._warn(f"{name} diverged at {stage.images_seen} images: back to the last checkpoint")
                stage.load_state_dict(state)
                # Other noise: the same noise would diverge again.
                stage.noise.manual_seed(self.config.seed + 1000 * rollbacks)
        self._print(f"{name} is complete: {stage.images_seen} {_unit(stage)}")

    def _complete(self, stage: Stage) -> bool:
        """Whether `stage` has seen all its images or used up its seconds."""
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
        """The newest state of a stage, read by the first process for all; empty if there is none."""
        return self.group.from_first(lambda: latest_checkpoint(self.checkpoints, name, self._warn) or {})

    def _announce(self, stage: Stage) -> None:
        """Print what the run uses and where it stands. A new stage is saved, so that a roll-back has a target."""
        counts = {
            "generator": count_parameters(stage.generator),
            "discriminator": count_parameters(stage.discriminator),
        }
        data = f"{self.archive.path}, {self.archive.num_clips} clips, {self.archive.num_frames} frames"
        precision = name_of(stage.dtype)
        with self.group.collective_errors():
            room = self.run_folder.check_room(checkpoint_bytes(sum(counts.values())))
            self._print(describe(counts, room, self.folder, data, precision, self.group))
            rates = sorted({round(fps, 3) for fps in self.archive.fps})
            if len(rates) > 1 and stage.num_frames > 1:
                self._warn(
                    f"the clips have different frame rates, {rates[0]:g} to {rates[-1]:g} a second, and the"
                    " model learns their motion per frame: prepare the data with --fps to bring them to one rate"
                )
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
            self._warn("finetune starts without pretraining")
            return
        content = ("mapping.", "canonical.", "canonical_motion_encoder.", "motion_mask")
        known = {name: value for name, value in state["average"].items() if name.startswith(content)}
        generator.load_state_dict({**generator.state_dict(), **known})
        discriminator.load_state_dict(state["discriminator"])
        discriminator.start_video()

    def _advance(self, stage: Stage, attempt: int) -> None:
        """Train `stage` to its end.

        Raises:
            FloatingPointError: a loss or a value of the state is no longer finite.
            Stopped: asked to stop.
            TrainingError: a step runs out of memory.
        """
        settings = stage.settings
        stream = self.stream(stage, attempt)
        reporter = Reporter(
            self.folder, stage.name, settings.images, stage, _unit(stage), self.options.quiet, self.group
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
                stopping, due, spent = self._agree(time.monotonic() > snapshot_due, clock() - began)
                stage.seconds = before + spent
                if reporter.due_estimate():
                    self._print(reporter.estimate(stage.images_seen))
                done = self._complete(stage)
                if stage.step_number % CHECK_EVERY == 0 or done or stopping:
                    if not reporter.finite():
                        raise FloatingPointError
                    reporter.line(stage.images_seen, reporter.write(stage.images_seen, stage.step_number))
                if done or stopping or due:
                    # Weights can hold NaN although the last losses, which were computed before, are finite.
                    if not (reporter.finite() and self._all_finite(stage)):
                        raise FloatingPointError
                    self._snapshot(stage)
                    snapshot_due = time.monotonic() + self.options.snapshot_minutes * 60
                if stopping and not done:
                    raise Stopped(f"stopped at {stage.images_seen} {_unit(stage)}; the same command continues")
        finally:
            batches.close()  # type: ignore[attr-defined]
            reporter.close()

    def _agree(self, due: bool, spent: float) -> tuple[bool, bool, float]:
        """Decisions that all processes take together.

        Args:
            due: whether this process finds a snapshot due; that of the first process counts.
            spent: seconds that this process has trained.

        Returns:
            Whether to stop, whether to save, and the seconds spent: the sum of processor seconds on a CPU, the mean of
            wall-clock seconds elsewhere.
        """
        asked = self._stop.is_set() or time.monotonic() > self._deadline or self.group.launcher_has_ended()
        stops, dues, total = self.group.total([float(asked), float(due and self.group.is_main), spent])
        return stops > 0, dues > 0, total if self.device.type == "cpu" else total / self.group.size

    def _all_finite(self, stage: Stage) -> bool:
        """Whether the state of `stage` is finite in all processes."""
        return self.group.total([float(not is_finite(stage.state_dict()))])[0] == 0

    def _snapshot(self, stage: Stage) -> None:
        if not self.group.is_main:
            return
        average = stage.average
        assert isinstance(average, Generator | BaselineGenerator)
        save_checkpoint(self.checkpoints, stage.name, stage.step_number, stage.state_dict())
        info = {
            "stage": stage.name,
            "images_seen": stage.images_seen,
            "seconds": round(stage.seconds, 1),
            "data_fingerprint": self.archive.fingerprint,
            "fps": sum(self.archive.fps) / len(self.archive.fps),
            "classes": self.archive.classes,
        }
        with writing(self.folder):
            save_generator(self.folder / ("model" if stage.name == "finetune" else "pretrained"), average, info)
            preview(average, self.folder / "previews", stage.name, stage.images_seen, self.config.seed)

    def _too_large(self, name: str) -> str:
        """Error message for a step of stage `name` that runs out of memory, with the remedy."""
        share = self.group.local_batch_size(f"{name}.batch_size", getattr(self.config, name).batch_size)
        now = min(self.options.micro_batch or share, share)
        if now > 1:
            return (
                f"a step of {name} does not fit the memory of {self.device}: continue with --micro-batch {now // 2}"
                f" (now {now})"
            )
        return f"one {'image' if name == 'pretrain' else 'clip'} does not fit the memory of {self.device}"

    def _warn(self, text: str) -> None:
        if self.group.is_main:
            _log.warning(text)

    def _print(self, text: str) -> None:
        if self.group.is_main and not self.options.quiet:
            print(text, file=sys.stderr, flush=True)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _unit(stage: Stage) -> str:
    return "images" if stage.num_frames == 1 else "clips"
