"""Training run of a latent model: an autoencoder, then the prior of its latents; resumable at any moment."""

import logging
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gendef.data.archive import VideoArchive
from gendef.data.clips import ClipStream
from gendef.errors import ConfigError, ModelError, TrainingError
from gendef.metrics.lpips import load_lpips
from gendef.model.latent_files import load_autoencoder, load_latent, save_autoencoder, save_prior
from gendef.runtime.devices import choose_device
from gendef.runtime.precision import name_of
from gendef.training.checkpoint import is_finite, latest_checkpoint, save_checkpoint
from gendef.training.latent_config import LatentTrainConfig
from gendef.training.latent_data import encode_archive, images_of
from gendef.training.latent_previews import preview_prior, preview_reconstruction
from gendef.training.latent_stages import AutoencoderStage, PriorStage
from gendef.training.logging import Reporter, checkpoint_bytes, count_parameters, describe
from gendef.training.run_folder import RunFolder, writing
from gendef.training.stop_signals import StopSignals
from gendef.training.trainer import CHECK_EVERY, Stopped

_log = logging.getLogger(__name__)

STAGES = ("autoencoder", "prior")
MAY_CHANGE = ("images", "learning_rate", "batch_size", "crop", "decay_share", "freeze_encoder", "colour_weight")
"""Stage fields that may differ when a run is continued: small crops first are cheaper, large ones last are
better, and the decoder may learn on when a prior of the latents is begun."""
AnyStage = AutoencoderStage | PriorStage


@dataclass(frozen=True)
class LatentOptions:
    """Where and how long to run; unlike the configuration, these may differ every time."""

    out: Path
    stages: tuple[str, ...] = STAGES
    autoencoder: Path | None = None
    """Folder of a trained autoencoder for the prior; None for the run's own."""
    start: Path | None = None
    """Model folder whose weights a new run starts from; None for random ones."""
    motion: str | None = None
    """Built-in motion prior that moves the images; its name is kept in the model."""
    minutes: float | None = None
    snapshot_minutes: float = 10.0
    device: str = "auto"
    quiet: bool = False


class LatentTrainer:
    """Trains the stages of a latent model into `options.out`; the same call continues an interrupted run.

    Raises:
        ConfigError: the data have another resolution, or the folder holds a run with other settings.
    """

    def __init__(self, config: LatentTrainConfig, data: Path, options: LatentOptions) -> None:
        self.config, self.options, self.folder = config, options, options.out
        self.archive = VideoArchive(data)
        if self.archive.resolution != config.resolution:
            wanted = config.resolution
            raise ConfigError(
                f"the data are {self.archive.resolution}x{self.archive.resolution}, the model {wanted}x{wanted}:"
                f" prepare the data with --resolution {wanted}, or change --prior.size"
            )
        self.device = choose_device(options.device)
        self._stop, self._deadline = threading.Event(), float("inf")
        fields = {name: f"{name}_stage" for name in STAGES}
        self.run_folder = RunFolder(options.out, config, self.archive.fingerprint, fields, MAY_CHANGE)
        self.run_folder.check_config()

    def run(self) -> None:
        """Train until the stages are done, the minutes are over, or the process is asked to stop.

        Raises:
            Stopped: asked to stop; the state is saved.
            TrainingError: a loss or a value of the state is no longer finite.
            ModelError: the prior has no autoencoder, or LPIPS has no weights.
            ConfigError: another process trains into the same folder, or the disk cannot hold the checkpoints.
            CheckpointError: a file cannot be written, or no checkpoint of a started stage can be read.
        """
        if self.options.minutes is not None:
            self._deadline = time.monotonic() + self.options.minutes * 60
        with self.run_folder.locked(_log.warning), StopSignals(self._stop):
            self.run_folder.write_config()
            for name in self.options.stages:
                torch.manual_seed(self.config.seed)
                if name == "autoencoder":
                    self._train_autoencoder()
                else:
                    self._train_prior()

    def _train_autoencoder(self) -> None:
        settings = self.config.autoencoder_stage
        stage = AutoencoderStage(self.config, load_lpips()[0] if settings.lpips_weight else None, self.device)
        self._restore(stage)
        stream = ClipStream(self.archive, settings.batch_size, self.config.seed, 1, mirror=self.config.mirror)
        batches = stream.iterate(stage.step_number)
        shown = images_of(self.archive, 16)

        def save() -> None:
            save_autoencoder(self.folder / "autoencoder", stage.average, self._info(stage))
            preview_reconstruction(stage.average, shown, self._preview(stage), self.device)

        try:
            self._advance(stage, lambda: stage.step(next(batches).video[:, 0].float() / 127.5 - 1), save)
        finally:
            batches.close()

    def _train_prior(self) -> None:
        folder = self.options.autoencoder or self.folder / "autoencoder"
        autoencoder, _ = load_autoencoder(folder)
        if autoencoder.config != self.config.autoencoder:
            raise ConfigError(f"{folder} has other widths or depths than this run: set --autoencoder.* as there")
        latents, sources = encode_archive(
            autoencoder.to(self.device), self.archive, self.folder, self.config.mirror, self._say
        )
        stage = PriorStage(self.config, latents, sources, self.device)
        self._restore(stage)

        def save() -> None:
            save_prior(self.folder / "model", autoencoder, stage.average, self._info(stage))
            preview_prior(autoencoder, stage.average, self._preview(stage), self.config.seed)

        self._advance(stage, stage.step, save)

    def _restore(self, stage: AnyStage) -> None:
        state = latest_checkpoint(self.run_folder.checkpoints, stage.name, _log.warning)
        if state:
            stage.load_state_dict(state)
        elif self.options.start is not None:
            self._start(stage, self.options.start)
        counts = {stage.name: count_parameters(stage.network)}
        room = self.run_folder.check_room(checkpoint_bytes(counts[stage.name]))
        data = f"{self.archive.path}, {self.archive.num_clips} clips, {self.archive.num_frames} frames"
        self._say(describe(counts, room, self.folder, data, name_of(stage.dtype)))
        if stage.images_seen:
            self._say(f"{stage.name} continues at {stage.images_seen} images")

    def _start(self, stage: AnyStage, folder: Path) -> None:
        """Take the weights of a model folder.

        Raises:
            ModelError: it holds no such network. ConfigError: the network has other widths or depths.
        """
        autoencoder, prior, _ = load_latent(folder)
        found = autoencoder if stage.name == "autoencoder" else prior
        if found is None:
            raise ModelError(f"{folder} holds an autoencoder and no prior to start from")
        if found.config != stage.network.config:
            raise ConfigError(f"{folder} has a {stage.name} of {found.config}: set --{stage.name}.* as there")
        for network in (stage.network, stage.average):
            network.load_state_dict(found.state_dict())
        self._say(f"{stage.name} starts from {folder}")

    def _advance(self, stage: AnyStage, step: Any, save: Any) -> None:
        total = stage.settings.images
        if stage.images_seen >= total:
            save()  # a finished prior takes a decoder that has learned on
        reporter = Reporter(self.folder, stage.name, total, stage, "images", self.options.quiet)
        due = time.monotonic() + self.options.snapshot_minutes * 60
        try:
            while stage.images_seen < total:
                reporter.add(step())
                if reporter.due_estimate():
                    self._say(reporter.estimate(stage.images_seen))
                stopping = self._stop.is_set() or time.monotonic() > self._deadline
                done = stage.images_seen >= total
                if stage.step_number % CHECK_EVERY == 0 or done or stopping:
                    saving = done or stopping or time.monotonic() > due
                    if not (reporter.finite() and (not saving or is_finite(stage.state_dict()))):
                        raise TrainingError(
                            f"{stage.name} diverged at {stage.images_seen} images: continue with a lower"
                            f" --{stage.name}-stage.learning-rate (now {stage.settings.learning_rate})"
                        )
                    reporter.line(stage.images_seen, reporter.write(stage.images_seen, stage.step_number))
                    if saving:
                        save_checkpoint(self.run_folder.checkpoints, stage.name, stage.step_number, stage.state_dict())
                        with writing(self.folder):
                            save()
                        due = time.monotonic() + self.options.snapshot_minutes * 60
                if stopping and not done:
                    raise Stopped(f"stopped at {stage.images_seen} images; the same command continues")
        finally:
            reporter.close()
        self._say(f"{stage.name} is complete: {stage.images_seen} images")

    def _info(self, stage: AnyStage) -> dict[str, Any]:
        return {
            "stage": stage.name,
            "images_seen": stage.images_seen,
            "data_fingerprint": self.archive.fingerprint,
            "fps": sum(self.archive.fps) / len(self.archive.fps),
            **({"motion": self.options.motion} if self.options.motion else {}),
        }

    def _preview(self, stage: AnyStage) -> Path:
        return self.folder / "previews" / f"{stage.name}-{stage.images_seen:08d}.jpg"

    def _say(self, text: str) -> None:
        if not self.options.quiet:
            print(text, file=sys.stderr, flush=True)
