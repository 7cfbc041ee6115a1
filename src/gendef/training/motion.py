"""Training of a motion prior on motion data: resumable, with averaged weights and the loss of each held-out source."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendef.animation.prior import LONGEST, MotionPrior
from gendef.data.motions import MotionSet
from gendef.errors import CheckpointError, ConfigError, TrainingError
from gendef.networks.motion_prior import MotionPriorConfig, flow_matching_loss
from gendef.runtime.atomic_file import replacing
from gendef.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from gendef.training.ema import average_of, update_average
from gendef.training.motion_preparation import (
    FlowSamples,
    StillPlaces,
    Teller,
    Work,
    augmented_flow_samples,
    fit_basis,
    flow_samples,
    image_features,
    train_moving_map,
)
from gendef.training.motion_preview import write_preview
from gendef.training.motion_samples import AugmentConfig, plain_samples

PREPARED = "prepared.pt"
PRIOR = "prior"
GRID = 16
"""Side of the prior's fields, at most that of the data."""
CHECK_EVERY = 100
"""Steps between two measures of the held-out loss."""


@dataclass(frozen=True)
class MotionTrainConfig:
    """A training run of a motion prior. Field docstrings are the command line's help."""

    components: int = 96
    """Dimensions of the basis."""
    width: int = 320
    """Width of the flow network."""
    blocks: int = 4
    """Blocks of the flow network."""
    steps: int = 1500
    """Training steps of the flow."""
    batch_size: int = 256
    """Samples a step."""
    learning_rate: float = 1e-3
    """Highest step size, reached after a twentieth of the steps; it falls to 0 along a cosine."""
    weight_decay: float = 0.02
    """AdamW's weight decay."""
    copies: int = 6000
    """Changed copies of the windows that the flow learns from."""
    basis_copies: int = 2500
    """Changed copies that the basis is found from."""
    moving_steps: int = 300
    """Training steps of the map of what moves."""
    no_image: float = 0.4
    """Share of the samples whose image the flow does not see."""
    image_noise: float = 0.5
    """Noise on the description of images, in their deviations: few sources are easily learned by heart."""
    ema_samples: float = 20_000
    """Half-life, in samples, of the averaged weights."""
    seed: int = 0
    """Seed of everything random."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.type in ("int", int) and item.name != "seed" and value < 1:
                raise ConfigError(f"{item.name} must be at least 1, got {value}")
        for name in ("no_image", "image_noise", "weight_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate must be positive, got {self.learning_rate}")


def split_sources(windows: MotionSet, hold_out: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Numbers of the windows to train on, and of those of the sources whose name matches one of `hold_out`.

    Raises:
        ConfigError: a pattern matches no source, or nothing is left to train on.
    """
    names = [source["name"] for source in windows.sources]
    for pattern in hold_out:
        if not any(fnmatch(name, pattern) for name in names):
            raise ConfigError(f"--hold-out {pattern} matches none of {', '.join(names)}")
    held = torch.tensor([any(fnmatch(name, pattern) for pattern in hold_out) for name in names])
    apart = held[windows.source.long()]
    if bool(apart.all()):
        raise ConfigError(f"--hold-out {' '.join(hold_out)} leaves no window to train on")
    return (~apart).nonzero()[:, 0], apart.nonzero()[:, 0]


class MotionTrainer:
    """Trains a prior: first what moves and the basis, then the flow.

    Args:
        windows: all motion data.
        hold_out: shell patterns of the names of sources that are not trained on.
        out: folder of the run: `prior` (the model), checkpoints, metrics.jsonl, previews.
        say: told how far it is.
        label: what the prior samples by default; default the first label of the data.
        still: motion data of still cameras, whose still places teach what stands still for that label.

    Raises:
        InputError: the data has no such label.
    """

    def __init__(
        self,
        config: MotionTrainConfig,
        windows: MotionSet,
        hold_out: Sequence[str],
        out: Path,
        say: Teller | None = None,
        *,
        label: str | None = None,
        still: MotionSet | None = None,
    ) -> None:
        self.config, self.windows, self.out, self.still = config, windows, out, still
        self.say = say or Teller()
        self.train_windows, self.held_windows = split_sources(windows, hold_out)
        torch.manual_seed(config.seed)  # of the networks' first weights
        self.prior = MotionPrior(
            MotionPriorConfig(
                key_times=windows.key_times,
                grid=min(GRID, windows.fields.shape[2]),
                moving_grid=windows.fields.shape[2],
                components=config.components,
                width=config.width,
                blocks=config.blocks,
                labels=windows.labels,
            ),
            label,
        )
        self._job = json.dumps(
            [
                dataclasses.asdict(config),
                windows.sources,
                windows.settings,
                list(hold_out),
                self.prior.label,
                still.sources if still else None,
            ],
            sort_keys=True,
        )
        self._generator = torch.Generator().manual_seed(config.seed)
        self.step = 0

    def run(self, minutes: float | None = None) -> MotionPrior:
        """Train to the end, or for so many minutes with everything saved.

        Returns:
            The averaged prior. (That of the least held-out loss is not better: with few sources this loss rises early,
            when samples are not yet as straight and smooth as the data.)

        Raises:
            CheckpointError: the folder holds another run.
            TrainingError: the loss is not finite.
        """
        started = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.config.seed)  # of dropout
        train, held = self._prepared()
        flow = self.prior.flow.train()
        average = average_of(flow)
        optimiser = torch.optim.AdamW(
            flow.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay, betas=(0.9, 0.99)
        )
        self._resume(average, optimiser)
        batch_size, losses = min(self.config.batch_size, len(train)), []
        saved = time.monotonic()
        while self.step < self.config.steps:
            for group in optimiser.param_groups:
                group["lr"] = self.config.learning_rate * _rate(self.step / self.config.steps)
            loss = self._loss(train, batch_size)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
            optimiser.step()
            self.step += 1
            update_average(average, flow, batch_size, self.step * batch_size, self.config.ema_samples)
            losses.append(float(loss.detach()))
            ended = self.step == self.config.steps
            late = minutes is not None and time.monotonic() - started > 60 * minutes
            if self.step % CHECK_EVERY == 0 or ended or late:
                self._report(average, train, held, losses)
                losses = []
            if time.monotonic() - saved > 60 or ended or late:
                self._save(average, optimiser)
                saved = time.monotonic()
            if late:
                break
        self.prior.flow.load_state_dict(average.state_dict())
        self.prior.eval().requires_grad_(False)
        self.prior.info = self._info(average, held)
        self.prior.save(self.out / PRIOR)
        numbers = self.held_windows if len(self.held_windows) else self.train_windows
        write_preview(self.prior, self.windows, numbers, self.out / "preview.png")
        return self.prior

    def _prepared(self) -> tuple[FlowSamples, FlowSamples]:
        """Samples to train on and held-out ones, in the basis; from the run's folder where they are there."""
        path = self.out / PREPARED
        if path.is_file():
            state = load_checkpoint(path)
            if state["job"] != self._job:
                raise CheckpointError(
                    f"{self.out} holds a run with other data or settings: use the same, or another folder"
                )
            self.prior.load_state_dict(state["prior"])
            self._generator.set_state(state["generator"])
            return FlowSamples(**state["train"]), FlowSamples(**state["held"])
        config = self.config
        maps = image_features(self.prior, self.windows, self.say)
        work = Work(self.prior, self.windows, maps, self.train_windows, config.augment, self._generator, self.say)
        still = None
        if self.still is not None:
            seen = image_features(self.prior, self.still, self.say)
            still = StillPlaces(self.still, seen, self.prior.label_number(None))
        train_moving_map(work, config.moving_steps, still)
        fit_basis(work, config.basis_copies)
        train = augmented_flow_samples(work, config.copies)
        if not len(train):
            raise TrainingError("nothing moves in the motion data")
        held = FlowSamples(train.state[:0], train.image[:0], train.label[:0], train.window[:0])
        if len(self.held_windows):
            samples = plain_samples(self.windows, maps, self.held_windows, self.prior.config.grid)
            held = flow_samples(self.prior, self.windows, samples)
        state = {
            "job": self._job,
            "prior": self.prior.state_dict(),
            "generator": self._generator.get_state(),
            "train": vars(train),
            "held": vars(held),
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)
        return train, held

    def _loss(self, train: FlowSamples, batch_size: int) -> Tensor:
        rows = torch.randint(len(train), (batch_size,), generator=self._generator)
        image = train.image[rows]
        image = image + self.config.image_noise * torch.randn(image.shape, generator=self._generator)
        known = torch.rand(batch_size, generator=self._generator) >= self.config.no_image
        state = train.state[rows].clamp(-LONGEST, LONGEST)
        loss = flow_matching_loss(
            self.prior.flow, state, image, train.label[rows], generator=self._generator, known=known
        ).mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {float(loss)} at step {self.step}: lower --learning-rate")
        return loss

    @torch.no_grad()
    def _held_losses(self, average: Any, held: FlowSamples) -> dict[str, float]:
        """Mean loss of each held-out source, always with the same noise."""
        if not len(held):
            return {}
        generator = torch.Generator().manual_seed(1)
        repeats = [
            flow_matching_loss(
                average, held.state.clamp(-LONGEST, LONGEST), held.image, held.label, generator=generator
            )
            for _ in range(8)
        ]
        loss = torch.stack(repeats).mean(dim=0)
        sources = self.windows.source[held.window].long()
        return {
            self.windows.sources[number]["name"]: float(loss[sources == number].mean())
            for number in sources.unique().tolist()
        }

    def _report(self, average: Any, train: FlowSamples, held: FlowSamples, losses: list[float]) -> None:
        by_source = self._held_losses(average, held)
        loss = sum(losses) / max(len(losses), 1)
        row = {"step": self.step, "loss": loss, "held_out": by_source}
        with (self.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        values = {"loss": loss}
        if by_source:
            values["held_out"] = sum(by_source.values()) / len(by_source)
        self.say("flow", self.step, self.config.steps, **values)

    def _save(self, average: Any, optimiser: torch.optim.Optimizer) -> None:
        state = {
            "job": self._job,
            "flow": self.prior.flow.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "step": self.step,
        }
        save_checkpoint(self.out, "motion", self.step, state)

    def _resume(self, average: Any, optimiser: torch.optim.Optimizer) -> None:
        state = latest_checkpoint(self.out, "motion")
        if state is None:
            return
        self.prior.flow.load_state_dict(state["flow"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self.step = state["step"]

    def _info(self, average: Any, held: FlowSamples) -> dict[str, Any]:
        def names(numbers: Tensor) -> list[str]:
            found = self.windows.source[numbers].unique().tolist()
            return [self.windows.sources[number]["name"] for number in found]

        return {
            "trained_on": names(self.train_windows),
            "held_out": names(self.held_windows),
            "still_places_of": [source["name"] for source in self.still.sources] if self.still else [],
            "windows": len(self.train_windows),
            "held_out_loss": self._held_losses(average, held),
            "steps": self.step,
            "settings": dataclasses.asdict(self.config),
        }


def _rate(share: float) -> float:
    """Step size at this share of the training: up in a twentieth of it, then down along a cosine."""
    if share < 0.05:
        return share / 0.05 + 0.01
    return 0.5 * float(1 + torch.cos(torch.tensor((share - 0.05) / 0.95 * torch.pi)))
