"""The quantities that every stage of an inversion optimises against, and the losses that stages share."""

import torch
from torch import Tensor

from gendef.inversion.distance import PictureDistance
from gendef.inversion.latents import Latents, generate_content, nearest_content, nearest_motion
from gendef.inversion.target import Target
from gendef.networks.generator import Generator

CONTENTS, MOTIONS = 512, 48
"""Numbers of random contents and motions from which the search starts."""
FRAMES_A_STEP = 4
"""Random frames of a step, besides three consecutive ones for the smoothness loss."""
SMALLEST_SPREAD = 1e-3
"""Lower limit of the standard deviation of w in every direction: distances are divided by it."""


class Objective:
    """A target on the generator's device.

    Args:
        original: the generator before tuning.
        target: the clip to reproduce.
        seed: of all random choices.

    Attributes:
        frames: (T, 3, R, R).
        canonical: (1, 3, R, R).
        times: (T,), frame numbers from 0.
        start_w: (1, w_dim), w of the random content that is nearest to the canonical image.
        spread: (w_dim,), standard deviation of w over random contents.
    """

    def __init__(self, original: Generator, target: Target, seed: int) -> None:
        self.original, self.seed = original, seed
        self.device = next(original.parameters()).device
        self.frames = target.frames.to(self.device)
        self.canonical = target.canonical[None].to(self.device)
        self._fields, self._trusted = target.fields.to(self.device), target.trusted.to(self.device)
        self.times = torch.arange(len(self.frames), dtype=torch.float32)
        self.distance = PictureDistance(self.device)
        with torch.no_grad():
            self._canonical_features = self.distance.features(self.canonical)
        self.start_w, spread = nearest_content(original, self.canonical, self.to_canonical, CONTENTS, seed)
        self.spread = spread.clamp(min=SMALLEST_SPREAD)

    def to_canonical(self, images: Tensor) -> Tensor:
        """Distances of images (B, 3, R, R) to the canonical image, (B,)."""
        return self.distance(images, self.canonical, self._canonical_features)

    def with_nearest_motion(self, w: Tensor) -> Latents:
        """Latents of content w (1, w_dim) and the nearest of some random motions."""
        with torch.no_grad():
            content = generate_content(self.original, w)
        latents = nearest_motion(self.original, content, self._fields, self._trusted, MOTIONS, self.seed)
        latents.content = w
        return latents.clone()

    def some_frames(self, numbers: torch.Generator) -> Tensor:
        """Indices of random frames and, last, of three consecutive ones."""
        count = len(self.frames)
        some = torch.randint(count, (min(FRAMES_A_STEP, count),), generator=numbers)
        if count >= 3:
            first = int(torch.randint(count - 2, (1,), generator=numbers))
            some = torch.cat((some, torch.arange(first, first + 3)))
        return some

    def field_distance(self, fields: Tensor, some: Tensor) -> Tensor:
        """Mean distance in pixels of fields of frames `some` to those of the plain fit, where these are trusted."""
        gap = (fields - self._fields[some]).norm(dim=-1) * (fields.shape[1] / 2)
        weight = self._trusted[some]
        return (gap * weight).sum() / weight.sum().clamp(min=1)

    def atypicality(self, latents: Latents) -> Tensor:
        """Distance of latents from the distribution that the generator was trained on; about 1 for random ones.

        Squared distance of w from its mean in standard deviations, plus the deviation of the motion noise from mean 0
        and variance 1.
        """
        w = ((latents.content - self.original.mapping.w_avg) / self.spread).square().mean()
        mean, variance = latents.noise.mean(), latents.noise.var()
        return w + mean.square() + (variance - 1).square()
