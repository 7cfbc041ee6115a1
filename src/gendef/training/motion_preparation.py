"""What a motion prior has before its flow is trained: the map of what moves, the basis, and the samples in it."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.animation.prior import MotionPrior
from gendef.data.motions import MotionSet
from gendef.errors import DataError
from gendef.networks.motion_prior import LEVELS, MotionBasis
from gendef.training.motion_samples import LEAST_SPEED, AugmentConfig, Samples, augmented_samples

CHUNK = 64
"""Samples made at once."""
MOVING_BATCH = 24
"""Samples of a step in the training of the map of what moves."""
FEATURE_COPIES = 512
"""Samples that the axes of the features are found from."""


class Teller:
    """Says how far a part of the work is; does nothing by itself."""

    def __call__(self, what: str, done: int, total: int, **values: float) -> None:
        """Called after every step of the work."""


@dataclass(frozen=True)
class Work:
    """What the parts of the preparation work on.

    Attributes:
        prior: gets its map of what moves, its basis and its axes of features.
        windows: motion data.
        maps: feature maps of the images of all windows (`image_features`).
        numbers: windows to train on.
        augment: how they are changed.
        generator: of everything random.
        say: told how far it is.
    """

    prior: MotionPrior
    windows: MotionSet
    maps: list[Tensor]
    numbers: Tensor
    augment: AugmentConfig
    generator: torch.Generator
    say: Teller

    def copies(self, chosen: Tensor) -> Samples:
        """A changed copy of each of the chosen windows."""
        side = self.prior.config.grid
        return augmented_samples(self.windows, self.maps, chosen, side, self.augment, self.generator)

    def drawn(self, count: int) -> Tensor:
        """Numbers of windows to train on, every source equally often."""
        return balanced(self.windows, self.numbers, count, self.generator)


@dataclass(frozen=True)
class FlowSamples:
    """What the flow learns from: states (N, 1 + D), descriptions of images (N, V), labels (N,), windows (N,)."""

    state: Tensor
    image: Tensor
    label: Tensor
    window: Tensor

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.state)


def balanced(windows: MotionSet, numbers: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the given windows (N,), every source equally often."""
    sources = windows.source[numbers].long()
    weight = 1.0 / torch.bincount(sources)[sources].float()
    return numbers[torch.multinomial(weight, count, replacement=True, generator=generator)]


def label_numbers(windows: MotionSet, labels: tuple[str, ...]) -> Tensor:
    """For each window the index of its label."""
    by_source = torch.tensor([labels.index(source["label"]) for source in windows.sources])
    return by_source[windows.source.long()]


@torch.no_grad()
def image_features(prior: MotionPrior, windows: MotionSet, say: Teller) -> list[Tensor]:
    """Feature maps of the images of all windows, float16, (N, C, h, w) for each level."""
    parts = []
    for images in windows.images.split(CHUNK):
        parts.append([level.half() for level in prior.features(as_frames(images))])
        say("features", sum(len(part[0]) for part in parts), len(windows))
    return [torch.cat(level) for level in zip(*parts, strict=True)]


def as_frames(images: Tensor) -> Tensor:
    """uint8 images -> float in [-1, 1]."""
    return images.float() / 127.5 - 1


@dataclass(frozen=True)
class StillPlaces:
    """Windows of still cameras, of any domain: their still places teach what stands still for one label.

    Attributes:
        windows: motion data; what moves in it is ignored.
        maps: feature maps of their images.
        label: number of the label.
    """

    windows: MotionSet
    maps: list[Tensor]
    label: int


def train_moving_map(work: Work, steps: int, still: StillPlaces | None = None) -> None:
    """Train the classifier of what moves, on changed copies of the windows, and on what stands still elsewhere."""
    prior = work.prior
    labels = label_numbers(work.windows, prior.config.labels)
    network = prior.moving_map.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    elsewhere = None
    if still is not None:
        numbers = torch.arange(len(still.windows))
        elsewhere = replace(work, windows=still.windows, maps=still.maps, numbers=numbers)
    for step in range(steps):
        chosen = work.drawn(MOVING_BATCH)
        samples = work.copies(chosen)
        logits = network([F.dropout(level, 0.1) for level in samples.maps], labels[chosen])
        loss = F.binary_cross_entropy_with_logits(logits, samples.moving, weight=samples.sure)
        if still is not None and elsewhere is not None:
            chosen = elsewhere.drawn(MOVING_BATCH * 2 // 3)
            samples = elsewhere.copies(chosen)
            label = torch.full((len(chosen),), still.label)
            logits = network([F.dropout(level, 0.1) for level in samples.maps], label)
            weight = samples.sure * (1 - samples.moving)
            loss = loss + F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), weight=weight) / 2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 25 == 24:
            work.say("moving map", step + 1, steps, loss=float(loss.detach()))
    network.eval()


def fit_basis(work: Work, copies: int) -> None:
    """Principal components of the fields of changed copies, each divided by its speed; and axes of the features.

    Raises:
        DataError: fewer moving windows than dimensions.
    """
    prior = work.prior
    fields, logs, done = [], [], 0
    features: list[list[Tensor]] = []
    for part in work.drawn(copies).split(CHUNK):
        samples = work.copies(part)
        good = samples.speed > LEAST_SPEED
        fields.append((samples.fields[good] / samples.speed[good][:, None, None, None, None]).flatten(1))
        logs.append(samples.speed[good].log())
        if done < FEATURE_COPIES:
            features.append([F.adaptive_avg_pool2d(samples.maps[level], side) for level, side in LEVELS])
        done += len(part)
        work.say("basis", done, copies)
    values = torch.cat(fields)
    if len(values) <= prior.config.components:
        raise DataError(
            f"{len(values)} moving windows cannot give a basis of {prior.config.components} dimensions: give more"
            " videos, or ask for fewer --components"
        )
    set_basis(prior.motion_basis, values, torch.cat(logs))
    count = prior.config.feature_components
    for index, (level, _) in enumerate(LEVELS):
        pixels = torch.cat([one[index].movedim(1, -1).flatten(0, 2) for one in features])
        mean = pixels.mean(dim=0)
        _, deviations, axes = torch.linalg.svd(pixels - mean, full_matrices=False)
        scale = deviations[:count] / len(pixels) ** 0.5
        getattr(prior.describe, f"mean{level}").copy_(mean)
        getattr(prior.describe, f"axes{level}").copy_(axes[:count] / scale.clamp(min=1e-6)[:, None])


def set_basis(basis: MotionBasis, values: Tensor, log_speeds: Tensor) -> None:
    """Set a basis from fields of speed 1 (N, P) and the logarithms of their speeds (N,)."""
    count = len(basis.deviations)
    mean = values.mean(dim=0)
    centred = values - mean
    torch.manual_seed(0)  # svd_lowrank draws from the global generator
    _, singular, directions = torch.svd_lowrank(centred, q=min(count + 16, *values.shape), niter=4)
    basis.mean.copy_(mean)
    basis.directions.copy_(directions.T[:count])
    basis.deviations.copy_((singular[:count] / len(values) ** 0.5).clamp(min=1e-6))
    deviation = log_speeds.std() if len(log_speeds) > 1 else torch.tensor(1.0)
    basis.log_speed.copy_(torch.stack((log_speeds.mean(), deviation.clamp(min=0.05))))


@torch.no_grad()
def flow_samples(prior: MotionPrior, windows: MotionSet, samples: Samples) -> FlowSamples:
    """States and descriptions of samples; what does not move is left out."""
    good = samples.speed > LEAST_SPEED
    label = label_numbers(windows, prior.config.labels)[samples.window[good]]
    maps = [level[good] for level in samples.maps]
    state = prior.motion_basis.encode(samples.fields[good], samples.speed[good])
    image = prior.describe(maps, prior.moving_map(maps, label).sigmoid())
    return FlowSamples(state, image, label, samples.window[good])


def augmented_flow_samples(work: Work, copies: int) -> FlowSamples:
    """Samples for the flow, of changed copies of the windows, every source equally often."""
    parts, done = [], 0
    for part in work.drawn(copies).split(CHUNK):
        parts.append(flow_samples(work.prior, work.windows, work.copies(part)))
        done += len(part)
        work.say("samples", done, copies)
    return FlowSamples(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("state", "image", "label", "window"))
    )
