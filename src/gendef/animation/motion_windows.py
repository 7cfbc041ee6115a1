"""Motion windows of a video: a reference frame, and the fields of the frames around it by chained optical flow."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from gendef.data.motions import MotionSet
from gendef.errors import ConfigError, DataError
from gendef.media.shot_detection import Signature
from gendef.media.sources import Source
from gendef.media.video_reader import (
    Damage,
    probe,
    read_frames,
)
from gendef.optical_flow.consistency import visible_in_both
from gendef.optical_flow.dis import FlowMethod, dis_flow
from gendef.runtime.optional_imports import import_cv2

SHORTEST = 33
"""Frames of the shortest window: a shot of fewer gives none."""


@dataclass(frozen=True)
class MotionDataConfig:
    """How motion windows are made. Field docstrings are the command line's help."""

    span: int = 65
    """Frames of a window, odd, its reference frame in the middle. A shorter shot gives one window of all its frames."""
    step: int = 4
    """Frames between two key times."""
    stride: int = 8
    """Frames between the reference frames of two windows."""
    side: int = 128
    """Shorter side, in pixels, of the frames that optical flow is found on."""
    grid: int = 32
    """Side of the fields that are kept, a power of two."""
    image_side: int = 128
    """Side of the reference images that are kept."""
    least_psnr: float = 20.0
    """A window is left out if its fields make frames of fewer dB than this from the reference frame ..."""
    least_gain: float = 0.5
    """... or fewer dB more than no motion does."""

    def __post_init__(self) -> None:
        for name in ("span", "step", "stride", "side", "grid", "image_side"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.span < SHORTEST or (self.span - 1) % (2 * self.step):
            raise ConfigError(
                f"span must be at least {SHORTEST} and 1 more than a multiple of twice the step {self.step},"
                f" got {self.span}"
            )

        if self.grid & (self.grid - 1):
            raise ConfigError(f"grid must be a power of two, got {self.grid}")

    @property
    def key_times(self) -> tuple[float, ...]:
        """Times of the key fields, in frames from the reference frame."""
        half = (self.span - 1) // 2
        return tuple(float(time) for time in range(-half, half + 1, self.step))


@dataclass
class _Window:
    fields: np.ndarray
    visible: np.ndarray
    image: np.ndarray
    start: int
    span: int
    psnr: float
    still_psnr: float


def motion_windows(
    source: Source, config: MotionDataConfig, label: str, tick: Callable[[], None] = lambda: None
) -> MotionSet:
    """All motion windows of one video.

    Args:
        label: domain of the video.
        tick: called after each frame.

    Raises:
        DataError: the video cannot be read.
        MissingDependencyError: OpenCV is not installed.
    """
    kept: list[_Window] = []
    frames = left_out = shots = 0
    for first, shot in _shots(source, config.side):
        shots += 1
        frames += len(shot)
        for window in _shot_windows(shot, first, config, tick):
            good = window.psnr >= config.least_psnr and window.psnr - window.still_psnr >= config.least_gain
            if good:
                kept.append(window)
            left_out += not good
    about = {
        "name": source.identity or source.path.name,
        "label": label,
        "fps": probe(source).fps,
        "frames": frames,
        "shots": shots,
        "windows": len(kept),
        "left_out": left_out,
    }
    return _as_set(kept, about, config)


def _as_set(kept: list[_Window], about: dict[str, Any], config: MotionDataConfig) -> MotionSet:
    times, grid, side = len(config.key_times), config.grid, config.image_side
    shapes = {"fields": (times, grid, grid, 2), "visible": (times, grid, grid), "image": (3, side, side)}

    def stacked(name: str) -> torch.Tensor:
        shape = (len(kept), *shapes[name])
        values = [getattr(window, name) for window in kept]
        return torch.from_numpy(np.stack(values) if values else np.zeros(shape, np.float32))

    def listed(name: str, kind: torch.dtype) -> torch.Tensor:
        return torch.tensor([getattr(window, name) for window in kept], dtype=kind)

    return MotionSet(
        fields=stacked("fields").half(),
        visible=stacked("visible").to(torch.uint8),
        images=stacked("image").to(torch.uint8),
        source=torch.zeros(len(kept), dtype=torch.int32),
        start=listed("start", torch.int32),
        span=listed("span", torch.int32),
        psnr=listed("psnr", torch.float32),
        still_psnr=listed("still_psnr", torch.float32),
        sources=(about,),
        key_times=config.key_times,
        settings=asdict(config),
    )


def _shots(source: Source, side: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """First frame and reduced frames of each shot; damage ends a shot, too."""
    cv2 = import_cv2("fit", "for motion data")
    parts: list[list[np.ndarray]] = [[]]
    signature, starts = Signature(), [0]
    for frame in read_frames(source):
        if isinstance(frame, Damage):
            starts.append(len(signature))
            continue
        height, width = frame.image.shape[:2]
        signature.append(frame.image)
        scale = side / min(height, width)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        parts[0].append(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    frames = parts[0]
    if not frames:
        raise DataError(f"{source.name} has no readable frame")
    edges = sorted({*starts, *signature.cuts(), len(frames)})
    for first, end in pairwise(edges):
        yield first, frames[first:end]


def _shot_windows(
    shot: list[np.ndarray], first: int, config: MotionDataConfig, tick: Callable[[], None]
) -> Iterator[_Window]:
    span = config.span if len(shot) >= config.span else len(shot) - (len(shot) + 1) % 2
    if span < SHORTEST:
        for _ in shot:
            tick()
        return
    half = (span - 1) // 2
    flows = _ShotFlows(shot, dis_flow())
    done = 0
    for reference in range(half, len(shot) - half, config.stride):
        flows.forget(reference - half)
        chained = _chained(flows, reference, half, config, half / config.key_times[-1])
        yield _measured(shot, reference, first + reference - half, span, chained, config)
        for _ in range(reference + half - done):
            tick()
        done = reference + half
    for _ in range(len(shot) - done):
        tick()


class _ShotFlows:
    """Optical flow between neighbouring frames of a shot, found when it is asked for."""

    def __init__(self, shot: list[np.ndarray], method: FlowMethod) -> None:
        self._shot, self._method = shot, method
        self._known: dict[int, tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {}

    def step(self, frame: int, other: int) -> tuple[np.ndarray, np.ndarray]:
        """Flow (H, W, 2) in pixels from a frame to a neighbour, and where the neighbour shows the same (H, W)."""
        low = min(frame, other)
        if low not in self._known:
            there = self._method(self._shot[low], self._shot[low + 1])
            back = self._method(self._shot[low + 1], self._shot[low])
            self._known[low] = ((there, visible_in_both(there, back)), (back, visible_in_both(back, there)))
        return self._known[low][0 if frame < other else 1]

    def forget(self, before: int) -> None:
        """Drop the flow of frames before this one."""
        for frame in [frame for frame in self._known if frame < before]:
            del self._known[frame]


def _chained(
    flows: _ShotFlows, reference: int, half: int, config: MotionDataConfig, stretch: float
) -> dict[int, tuple[int, np.ndarray, np.ndarray]]:
    """For each key (its number): the frame, its offsets to the reference frame in pixels, and what is visible there."""
    cv2 = import_cv2("fit", "for motion data")
    wanted: dict[int, list[int]] = {}
    for number, time in enumerate(config.key_times):
        wanted.setdefault(round(time * stretch), []).append(number)
    found: dict[int, tuple[int, np.ndarray, np.ndarray]] = {}
    for direction in (1, -1):
        offset = visible = None
        for distance in range(1, half + 1):
            frame = reference + direction * distance
            flow, seen = flows.step(frame, frame - direction)
            height, width = flow.shape[:2]
            if offset is None or visible is None:
                offset, visible = flow.copy(), seen.astype(np.float32)
            else:
                # D_t(p) = b_t(p) + D_{t-1}(p + b_t(p)), b_t the flow from frame t to the one before.
                x = np.arange(width, dtype=np.float32)[None] + flow[..., 0]
                y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
                offset = flow + cv2.remap(offset, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                visible = seen * cv2.remap(visible, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            for number in wanted.get(direction * distance, []):
                found[number] = (frame, offset, visible)
    return found


def _measured(
    shot: list[np.ndarray],
    reference: int,
    start: int,
    span: int,
    chained: dict[int, tuple[int, np.ndarray, np.ndarray]],
    config: MotionDataConfig,
) -> _Window:
    """Fields on the grid, and how well they explain the frames (the median over the key times)."""
    cv2 = import_cv2("fit", "for motion data")
    image, grid = shot[reference], config.grid
    height, width = image.shape[:2]
    size = np.array([width, height], np.float32)
    fields = np.zeros((len(config.key_times), grid, grid, 2), np.float32)
    shown = np.full(fields.shape[:3], 255, np.float32)
    qualities = []
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    for number, (frame, offset, visible) in chained.items():
        # Averages over what is visible; where nothing is, over all.
        weight = visible + 1e-3
        mean = cv2.resize(offset * weight[..., None], (grid, grid), interpolation=cv2.INTER_AREA)
        share = cv2.resize(weight, (grid, grid), interpolation=cv2.INTER_AREA)
        coarse = mean / share[..., None]
        fields[number] = coarse * (2 / size)
        shown[number] = np.clip(share * 255, 0, 255).round()
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        made = cv2.remap(
            image, x + smooth[..., 0], y + smooth[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        qualities.append([_psnr(one, shot[frame], visible) for one in (made, image)])
    psnr, still = np.median(np.array(qualities), axis=0)
    small = cv2.resize(image, (config.image_side,) * 2, interpolation=cv2.INTER_AREA)
    return _Window(fields, shown, np.moveaxis(small, -1, 0), start, span, float(psnr), float(still))


def _psnr(made: np.ndarray, frame: np.ndarray, visible: np.ndarray) -> float:
    """PSNR in dB over what is visible, after the mean change of brightness is taken out; at most 60."""
    if visible.mean() < 0.01:
        return 0.0
    gap = frame.astype(np.float32) - made
    weight = visible[..., None] / (3 * visible.sum())
    gap = gap - (gap * weight * 3).sum(axis=(0, 1))
    return float(min(10 * np.log10(255**2 / max((gap**2 * weight).sum(), 0.065)), 60.0))
