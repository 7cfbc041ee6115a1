"""Sampling for all generators of videos: seeds, times, labels, and the record of how a video was made."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gendef._version import __version__
from gendef.errors import InputError
from gendef.networks.generator import VideoGenerator
from gendef.runtime.precision import name_of

CPU_CHUNK_PIXELS = 2**18
"""Pixels of the frames that a CPU computes together; larger chunks leave its cache and gain nothing."""
GPU_CHUNK_FACTOR = 8
"""CUDA chunk size relative to the CPU's. Larger chunks keep the GPU busy. Not tuned."""


def frames_at_once(resolution: int, device: torch.device) -> int:
    """Frames of one chunk on `device`."""
    pixels = CPU_CHUNK_PIXELS * (GPU_CHUNK_FACTOR if device.type == "cuda" else 1)
    return max(pixels // resolution**2, 1)


def random_numbers(purpose: str, seed: int) -> torch.Generator:
    """Independent random numbers for every purpose and seed."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def normal_rows(count: int, width: int, generator: torch.Generator) -> Tensor:
    """(count, width) normal values, drawn row by row: a smaller count gives the first rows of a larger one."""
    return torch.stack([torch.randn(width, generator=generator) for _ in range(count)])


def checked_truncation(truncation: float) -> float:
    """`truncation` itself.

    Raises:
        InputError: it is not in [0, 2].
    """
    if not 0 <= truncation <= 2:
        raise InputError(f"truncation must be between 0 and 2, got {truncation}")
    return float(truncation)


def checked_times(num_frames: int, times: Sequence[float] | Tensor | None) -> Tensor:
    """The requested times (T,) in frames: `times`, or 0, 1, ..., num_frames - 1.

    Raises:
        InputError: there are none, or one is negative or not finite.
    """
    if times is None:
        if num_frames < 1:
            raise InputError(f"the number of frames must be at least 1, got {num_frames}")
        times = torch.arange(num_frames, dtype=torch.float32)
    chosen = torch.as_tensor(times, dtype=torch.float32).flatten()
    if chosen.numel() == 0 or not torch.isfinite(chosen).all() or float(chosen.min()) < 0:
        raise InputError("times must be at least one finite number of frames, none negative")
    return chosen


def draw_label(count: int, label: int | None, noise: torch.Generator) -> tuple[int | None, Tensor | None]:
    """The given class, or a random one of `count`, and its one-hot vector (1, count).

    Raises:
        InputError: there is no such class.
    """
    if count == 0:
        if label is not None:
            raise InputError(f"the model has no classes, but label {label} was given")
        return None, None
    if label is None:
        label = int(torch.randint(count, (1,), generator=noise))
    if not 0 <= label < count:
        raise InputError(f"label must be between 0 and {count - 1}, got {label}")
    return label, torch.eye(count)[label : label + 1]


def hash_of_weights(network: nn.Module) -> str:
    """Hash of the weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass
class SampleRequest:
    """The inputs of one video, on the generator's device.

    Attributes:
        times: (T,) in frames, on the CPU.
        truncation: 1 is none.
        z_content: (1, z_dim).
        z_motion: (1, z_dim), or none for models without a motion latent.
        motion_noise: (1, N, motion_dim).
        labels: (1, num_classes), or none.
        info: plain values from which the video can be made again.
    """

    times: Tensor
    truncation: float
    z_content: Tensor
    z_motion: Tensor | None
    motion_noise: Tensor
    labels: Tensor | None
    info: dict[str, Any]


def draw_request(
    generator: VideoGenerator,
    seed: int,
    num_frames: int,
    *,
    truncation: float,
    content_seed: int | None,
    motion_seed: int | None,
    times: Sequence[float] | Tensor | None,
    label: int | None,
    has_motion_latent: bool,
) -> SampleRequest:
    """Check the arguments of `VideoModel.sample` and draw its random numbers.

    Args:
        has_motion_latent: draw z_motion, before the motion noise.

    Raises:
        InputError: a number is out of range.
    """
    chosen = checked_times(num_frames, times)
    truncation = checked_truncation(truncation)
    content_seed = seed if content_seed is None else content_seed
    motion_seed = seed if motion_seed is None else motion_seed
    content, motion = random_numbers("content", content_seed), random_numbers("motion", motion_seed)
    z_content = normal_rows(1, generator.z_dim, content)
    label, labels = draw_label(generator.num_classes, label, content)
    z_motion = normal_rows(1, generator.z_dim, motion) if has_motion_latent else None
    noise = normal_rows(generator.motion_noise_length(float(chosen.max())), generator.motion_dim, motion)[None]
    device = next(generator.parameters()).device
    consecutive = bool((chosen == torch.arange(len(chosen))).all())
    info = {
        "made_by": f"gendef {__version__}",
        "content_seed": content_seed,
        "motion_seed": motion_seed,
        "truncation": truncation,
        "times": None if consecutive else chosen.tolist(),
        "label": label,
        "precision": name_of(generator.compute_dtype),
    }
    z_motion, labels = (None if x is None else x.to(device) for x in (z_motion, labels))
    return SampleRequest(chosen, truncation, z_content.to(device), z_motion, noise.to(device), labels, info)
