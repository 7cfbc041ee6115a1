"""The latents of a clip: content w, motion w and motion noise; and random search for a start."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.model.sampling import normal_rows, random_numbers
from gendef.networks.generator import Content, Generator

BATCH = 32
"""Contents generated at a time, and number of candidates compared by the full distance."""
COARSE = 16
"""Side of the downsampled images by which candidates are preselected."""


@dataclass
class Latents:
    """The latents of a clip in a generator.

    Attributes:
        content: w of the canonical image, (1, w_dim).
        motion: w of the motion, (1, w_dim).
        noise: motion noise, (1, N, noise_dim).
    """

    content: Tensor
    motion: Tensor
    noise: Tensor

    def clone(self) -> "Latents":
        """A copy without gradients."""
        return Latents(*(value.detach().clone() for value in (self.content, self.motion, self.noise)))


def generate_content(generator: Generator, w: Tensor) -> Content:
    """Canonical image and f_c of content w (B, w_dim)."""
    return Content(*generator.canonical(w))


def generate_fields(generator: Generator, content: Content, latents: Latents, times: Tensor) -> Tensor:
    """Fields (T, R, R, 2) of one content at times (T,)."""
    ready = generator.deformation.modulate(latents.motion, content.feature)
    return generator.deform_at(ready, latents.noise, times[None])[0]


def random_w(generator: Generator, count: int, seed: int, purpose: str = "content") -> Tensor:
    """w (count, w_dim) of random contents or motions, with random classes where the model has some."""
    numbers = random_numbers(f"inversion-{purpose}", seed)
    z = normal_rows(count, generator.z_dim, numbers)
    labels = None
    if generator.num_classes:
        chosen = torch.randint(generator.num_classes, (count,), generator=numbers)
        labels = torch.eye(generator.num_classes)[chosen]
    mapping = generator.mapping if purpose == "content" else generator.motion_mapping
    device = next(generator.parameters()).device
    with torch.no_grad():
        return mapping(z.to(device), None if labels is None else labels.to(device))


@torch.no_grad()
def nearest_content(
    generator: Generator, wanted: Tensor, distance: Callable[[Tensor], Tensor], count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The best of w_avg and `count` random contents.

    Args:
        wanted: (1, 3, R, R), the target image.
        distance: images (B, 3, R, R) -> (B,); applied to the `BATCH` candidates nearest at low resolution.

    Returns:
        w (1, w_dim) of the best, and the standard deviation of the random w's in every direction, (w_dim,).
    """
    random = random_w(generator, count, seed)
    candidates = torch.cat((generator.mapping.w_avg[None], random))
    coarse = F.adaptive_avg_pool2d(wanted, COARSE)
    gaps = [
        (F.adaptive_avg_pool2d(generate_content(generator, part).image, COARSE) - coarse).abs().mean(dim=(1, 2, 3))
        for part in candidates.split(BATCH)
    ]
    candidates = candidates[torch.cat(gaps).argsort(stable=True)[:BATCH]]
    best = int(distance(generate_content(generator, candidates).image).argmin())
    return candidates[best : best + 1].clone(), random.std(dim=0)


@torch.no_grad()
def nearest_motion(
    generator: Generator, content: Content, fields: Tensor, trusted: Tensor, count: int, seed: int
) -> Latents:
    """The best of `count` random motions of a content, by the mean distance of some of its fields to given ones.

    Args:
        fields, trusted: (T, R, R, 2) and (T, R, R), as in `Target`.

    Returns:
        Latents of the motion; their content is w_avg, for the caller to replace.
    """
    device = content.image.device
    some = torch.linspace(0, len(fields) - 1, min(len(fields), 4)).round().long()
    wanted, weight = fields[some].to(device), trusted[some].to(device)
    styles = random_w(generator, count, seed, "motion")
    rows = generator.motion_noise_length(float(len(fields) - 1))
    best, least = None, float("inf")
    for number in range(count):
        noise = normal_rows(rows, generator.motion_dim, random_numbers("inversion-noise", seed * count + number))
        latents = Latents(generator.mapping.w_avg[None], styles[number : number + 1], noise[None].to(device))
        gap = (generate_fields(generator, content, latents, some.to(device).float()) - wanted).norm(dim=-1)
        far = float((gap * weight).sum() / weight.sum().clamp(min=1))
        if far < least:
            best, least = latents, far
    assert best is not None
    return best
