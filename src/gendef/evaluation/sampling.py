"""The sampling protocol: which clips of a set of videos are measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gendef.errors import DataError, InputError

MODEL_TIMES = 1024
"""Length, in frames, of the time line from which clips of models are drawn: that of training (`gendef.data.clips`)."""


@dataclass(frozen=True)
class Sampling:
    """How clips are drawn. Only measurements with equal sampling are comparable.

    Attributes:
        frames: frames per clip.
        stride: source frames from one of them to the next.
        clips_per_video: clips from each video, at random places spread over it; 1 is the protocol of StyleGAN-V
            (Skorokhodov et al., CVPR 2022, appendix), in which long videos have no larger weight. 0 takes all that fit
            without overlap.
        count: largest number of clips; a random subset if there are more.
        seed: of all random numbers.
        size: side to which square frames are brought first (Lanczos); None leaves them as they are.
        fit: what happens to frames that are not square.
        truncation: of a model's videos.
        start: first time of a model's clips: "random" draws it from [0, MODEL_TIMES - span], as training does; "zero"
            starts every clip at time 0. Clips of real videos always start at random.

    Raises:
        InputError: a number out of range.
    """

    frames: int = 16
    stride: int = 1
    clips_per_video: int = 1
    count: int = 2048
    seed: int = 0
    size: int | None = None
    fit: Literal["crop", "stretch"] = "crop"
    truncation: float = 1.0
    start: Literal["random", "zero"] = "random"

    def __post_init__(self) -> None:
        for name, least in (("frames", 1), ("stride", 1), ("clips_per_video", 0), ("count", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.size is not None and not 8 <= self.size <= 4096:
            raise InputError(f"size must be between 8 and 4096 pixels, got {self.size}")
        if self.fit not in ("crop", "stretch"):
            raise InputError(f"fit must be crop or stretch, got {self.fit!r}")
        if self.start not in ("random", "zero"):
            raise InputError(f"start must be random or zero, got {self.start!r}")

    @property
    def span(self) -> int:
        """Source frames from the first to the last of a clip, both counted."""
        return (self.frames - 1) * self.stride + 1

    def offsets(self) -> np.ndarray:
        """Source frames of a clip counted from its first."""
        return np.arange(self.frames) * self.stride

    def facts(self) -> dict[str, Any]:
        """Plain values for reports."""
        return {
            "frames": self.frames,
            "stride": self.stride,
            "clips_per_video": self.clips_per_video or "all side by side",
            "count": self.count,
            "size": self.size or "as it is",
            "fit": self.fit,
            "start": self.start,
        }


def draw_windows(lengths: Sequence[int], sampling: Sampling, where: str) -> list[tuple[int, int]]:
    """The clips to take from videos of these lengths: (video, first frame), in order.

    Raises:
        DataError: no video is long enough.
    """
    usable = [video for video, length in enumerate(lengths) if length >= sampling.span]
    if not usable:
        raise DataError(
            f"no video of {where} has the {sampling.span} frames that a clip of {sampling.frames} at stride"
            f" {sampling.stride} spans; the longest has {max(lengths, default=0)}"
        )
    rng = np.random.default_rng(sampling.seed)
    windows = [(video, start) for video in usable for start in _starts(lengths[video], sampling, rng)]
    if len(windows) > sampling.count:
        chosen = rng.choice(len(windows), sampling.count, replace=False)
        windows = [windows[index] for index in np.sort(chosen)]
    return windows


def _starts(length: int, sampling: Sampling, rng: np.random.Generator) -> list[int]:
    """First frames of the clips of one video."""
    span, number = sampling.span, sampling.clips_per_video
    if number == 0:
        fitting = length // span
        offset = int(rng.integers(length - fitting * span + 1))
        return [offset + index * span for index in range(fitting)]
    room = length - span + 1
    number = min(number, room)
    # One at random in each of as many equal parts of the video.
    edges = np.arange(number + 1) * room // number
    return [int(rng.integers(edges[index], edges[index + 1])) for index in range(number)]
