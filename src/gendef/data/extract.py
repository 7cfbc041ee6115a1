"""From one source to encoded clips: choose frames, crop, resize, encode, cut."""

import io
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from gendef.errors import ConfigError, DataError
from gendef.media.shot_detection import Signature
from gendef.media.sources import Source
from gendef.media.video_reader import (
    Damage,
    Frame,
    probe,
    read_frames,
)
from gendef.media.zips import DEFAULT_FPS

MAX_RESOLUTION = 4096


@dataclass(frozen=True)
class PrepareConfig:
    """How the frames of every source are processed.

    Raises:
        ConfigError: a value out of range, or two that exclude each other.
    """

    resolution: int = 256
    """Side in pixels of the square frames that are written; models need a power of two from 32."""
    fit: Literal["crop", "stretch"] = "crop"
    """Keep the aspect ratio and crop a square, or stretch to a square (the official code's way)."""
    crops: int = 1
    """Squares side by side, each a clip of its own, from frames wider than high; 1 takes the centre."""
    fps: float | None = None
    """Reduce to this frame rate; a slower source keeps all its frames and its rate."""
    stride: int = 1
    """Keep every stride-th frame."""
    min_frames: int = 3
    """Drop clips with fewer frames; training on motion needs 3."""
    clip_frames: int | None = None
    """Cut long videos into clips of this many frames (the last one may be shorter)."""
    cut_scenes: bool = True
    """Start a new clip at every scene change."""
    format: Literal["jpeg", "png", "webp"] = "jpeg"
    """Encoding of the frames; png is lossless."""
    quality: int = 95
    """Quality of jpeg and webp, 1 to 100."""
    labels: Literal["none", "folder"] = "none"
    """`folder`: the name of the folder that holds a video is its class."""

    def __post_init__(self) -> None:
        for name in ("resolution", "crops", "stride", "min_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.resolution > MAX_RESOLUTION:
            raise ConfigError(f"resolution must be at most {MAX_RESOLUTION}, got {self.resolution}")
        if self.clip_frames is not None and self.clip_frames < self.min_frames:
            raise ConfigError(
                f"clip_frames must be at least min_frames = {self.min_frames}, got {self.clip_frames}:"
                " every clip would be dropped"
            )
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ConfigError(f"fps must be positive, got {self.fps}")
        if self.fps is not None and self.stride != 1:
            raise ConfigError(f"give either fps or stride, got fps {self.fps:g} and stride {self.stride}")
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"quality must be between 1 and 100, got {self.quality}")
        for name, known in (
            ("format", ("jpeg", "png", "webp")),
            ("fit", ("crop", "stretch")),
            ("labels", ("none", "folder")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.fit == "stretch" and self.crops != 1:
            raise ConfigError(f"stretched frames have no crops; got crops {self.crops}")


@dataclass(frozen=True)
class ExtractedClip:
    """One clip of a source; `spans` are (offset, bytes) of its encoded frames in the spool file."""

    spans: list[tuple[int, int]]
    first_frame: int
    box: tuple[int, int, int, int]
    fps: float


@dataclass
class Extracted:
    """The result of one source."""

    clips: list[ExtractedClip] = field(default_factory=list)
    frames_read: int = 0
    cuts: int = 0
    dropped: int = 0
    enlarged_from: tuple[int, int] | None = None
    slower_fps: float | None = None
    damages: list[Damage] = field(default_factory=list)


@dataclass
class _Kept:
    """A frame that was encoded: its place among the frames read, its number in the source, one span a crop."""

    position: int
    index: int
    boxes: list[tuple[int, int, int, int]]
    spans: list[tuple[int, int]]


def crop_boxes(width: int, height: int, count: int) -> list[tuple[int, int, int, int]]:
    """Squares (left, top, right, bottom) as high as the frame: the centre, or `count` from its left to its right edge.

    Neighbours are at least an eighth of a side apart, so that a frame which is hardly wider than high gives fewer
    than `count`; a frame higher than wide gives its centre.
    """
    side = min(width, height)
    slack = width - side
    count = min(count, 1 + slack * 8 // side)
    if count == 1:
        left, top = (width - side) // 2, (height - side) // 2
        return [(left, top, left + side, top + side)]
    lefts = [round(slack * k / (count - 1)) for k in range(count)]
    return [(left, 0, left + side, side) for left in lefts]


def to_square(image: Image.Image, box: tuple[int, int, int, int], resolution: int) -> Image.Image:
    """The part of an image in `box` at `resolution`, antialiased (Lanczos; large ratios start with box averages)."""
    if image.size == (resolution, resolution) and box == (0, 0, resolution, resolution):
        return image
    return image.resize((resolution, resolution), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def encode(image: Image.Image, config: PrepareConfig) -> bytes:
    """An image file; JPEG keeps the colours at full resolution (4:4:4)."""
    buffer = io.BytesIO()
    if config.format == "jpeg":
        image.save(buffer, "JPEG", quality=config.quality, subsampling=0)
    elif config.format == "webp":
        image.save(buffer, "WEBP", quality=config.quality)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


class _Chooser:
    """Which frames to keep, by stride or by time."""

    def __init__(self, config: PrepareConfig, fps: float) -> None:
        self._stride, self._fps = config.stride, config.fps
        self._slots = -1
        self._slower = config.fps is not None and config.fps >= fps
        self.fps = fps if self._slower or config.fps is None else config.fps
        self.fps /= config.stride

    def __call__(self, frame: Frame) -> bool:
        if self._fps is None:
            return frame.index % self._stride == 0
        if self._slower:
            return True
        slot = int(frame.time * self._fps + 1e-3)
        if slot <= self._slots:
            return False
        self._slots = slot
        return True


def extract(
    source: Source,
    config: PrepareConfig,
    spool: Path,
    *,
    threads: int = 1,
    tick: Callable[[], None] = lambda: None,
) -> Extracted:
    """Read a source once, write the encoded frames to the file `spool` and return which of them form which clip.

    Args:
        threads: threads of the video decoder; 0 lets it choose.
        tick: called after every frame that was read.

    Raises:
        DataError: not one frame can be read.
        OSError: `spool` cannot be written.
    """
    known_fps = probe(source).fps
    fps = known_fps or DEFAULT_FPS
    choose = _Chooser(config, fps)
    result = Extracted(slower_fps=fps if config.fps is not None and config.fps > fps + 0.01 else None)
    signature, breaks, kept = Signature(), set(), []
    size, damaged = None, False
    with spool.open("wb") as file:
        for item in read_frames(source, threads):
            if isinstance(item, Damage):
                result.damages.append(item)
                damaged = True
                continue
            position = result.frames_read
            if damaged or (size is not None and size != item.image.shape):
                breaks.add(position)
            size, damaged = item.image.shape, False
            if config.cut_scenes:
                signature.append(item.image)
            result.frames_read += 1
            if choose(item):
                boxes, spans = _write(item.image, config, file)
                kept.append(_Kept(position, item.index, boxes, spans))
                height, width = size[:2]
                if result.enlarged_from is None and min(height, width) < config.resolution:
                    result.enlarged_from = (width, height)
            tick()
    if not result.frames_read:
        reasons = f": {result.damages[0].reason}" if result.damages else ""
        raise DataError(f"{source.name} holds no readable frame{reasons}")
    cuts = set(signature.cuts()) - breaks
    result.cuts = len(cuts)
    for piece in _pieces(kept, sorted(breaks | cuts), config.clip_frames):
        boxes = piece[0].boxes
        if len(piece) < config.min_frames:
            result.dropped += len(boxes)
            continue
        for number, box in enumerate(boxes):
            spans = [frame.spans[number] for frame in piece]
            result.clips.append(ExtractedClip(spans, piece[0].index, box, choose.fps))
    return result


def _write(
    frame: np.ndarray, config: PrepareConfig, file: BinaryIO
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int]]]:
    """Encode all crops of a frame; their boxes, and where they are in the file."""
    height, width = frame.shape[:2]
    stretched = config.fit == "stretch"
    boxes = [(0, 0, width, height)] if stretched else crop_boxes(width, height, config.crops)
    image, spans = Image.fromarray(frame), []
    for box in boxes:
        data = encode(to_square(image, box, config.resolution), config)
        spans.append((file.tell(), len(data)))
        file.write(data)
    return boxes, spans


def _pieces(kept: list[_Kept], breaks: list[int], clip_frames: int | None) -> list[list[_Kept]]:
    """The frames of each clip: no clip goes over a break or is longer than `clip_frames`."""
    scenes: dict[int, list[_Kept]] = {}
    for frame in kept:
        scenes.setdefault(bisect_right(breaks, frame.position), []).append(frame)
    return [
        scene[start : start + (clip_frames or len(scene))]
        for scene in scenes.values()
        for start in range(0, len(scene), clip_frames or len(scene))
    ]
