"""Presentation times of frames: constant rates as exact fractions, and lists of times where the rate varies."""

import itertools
from collections.abc import Sequence
from fractions import Fraction

from gendef.errors import InputError

TICKS = 90000
"""Ticks a second in which varying frame times are written (the clock of MPEG)."""
TOLERANCE = 0.0015
"""Seconds by which times may leave a constant rate: containers such as Matroska round to milliseconds."""
NTSC = Fraction(1000, 1001)


def checked_fps(fps: float) -> float:
    """The frame rate, if video files can carry it.

    Raises:
        InputError: not between 0.01 and 1000 frames a second.
    """
    if not 0.01 <= fps <= 1000:
        raise InputError(f"fps must be between 0.01 and 1000, got {fps}")
    return float(fps)


def exact_rate(fps: float) -> Fraction:
    """The frame rate as a fraction: 29.97 and 23.976 mean 30000/1001 and 24000/1001.

    Raises:
        InputError: not between 0.01 and 1000 frames a second.
    """
    rate = checked_fps(fps)
    for whole in (24, 30, 48, 60, 120):
        if abs(rate - float(whole * NTSC)) < 0.0015:
            return whole * NTSC
    return Fraction(rate).limit_denominator(1001)


def varying_times(times: Sequence[float], fps: float) -> list[float] | None:
    """Times in seconds from the first frame if they vary, None if they are those of the constant rate `fps`.

    Raises:
        InputError: the times do not increase.
    """
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise InputError("frame times must increase from frame to frame")
    first = times[0] if times else 0.0
    shifted = [float(time - first) for time in times]
    constant = all(abs(time - number / fps) <= TOLERANCE for number, time in enumerate(shifted))
    return None if constant else shifted


def durations_ms(count: int, fps: float, times: Sequence[float] | None, step: int) -> list[int]:
    """How long each frame is shown, in milliseconds, multiples of `step`, whose sums keep time with the frames.

    Args:
        times: in seconds; None for the constant rate `fps`. The last frame is shown as long as the one before.
        step: milliseconds; 10 for gif, 1 for webp. No frame is shorter than two steps of gif, which players require.
    """
    starts = [number / fps for number in range(count)] if times is None else [time - times[0] for time in times]
    last = starts[-1] - starts[-2] if count > 1 else 1 / fps
    edges = [round(1000 * start / step) * step for start in [*starts, starts[-1] + last]]
    return [max(later - earlier, 20) for earlier, later in itertools.pairwise(edges)]
