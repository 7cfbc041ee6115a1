"""From videos to a data archive: crop, resize, cut, encode, and one zip with a folder a clip."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from gendef import __version__
from gendef.data.scenes import find_cuts, thumbnail
from gendef.data.sources import Source, discover, probe, read_frames
from gendef.errors import ConfigError, DataError

FORMAT = "gendef-data"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class PrepareConfig:
    """What is done to the frames of every source."""

    resolution: int = 256
    """Side of the square frames that are written."""
    fit: Literal["crop", "stretch"] = "crop"
    """Keep the aspect ratio and crop, or stretch to a square (the official code's way)."""
    crops: int = 1
    """Evenly spaced crops along the longer side, each a clip of its own; 1 takes the centre."""
    fps: float | None = None
    """Resample to this frame rate (sources without one count as 25)."""
    stride: int = 1
    """Keep every stride-th frame."""
    min_frames: int = 1
    """Drop clips with fewer frames."""
    clip_frames: int | None = None
    """Cut long videos into clips of this many frames (the remainder is a shorter clip)."""
    cut_scenes: bool = True
    """Start a new clip at every scene change."""
    format: Literal["jpeg", "png", "webp"] = "jpeg"
    """Encoding of the frames; png is lossless."""
    quality: int = 95
    """Quality of jpeg and webp, 1 to 100."""
    labels: bool = False
    """Take the name of each source's parent folder as its class."""

    def __post_init__(self) -> None:
        for name in ("resolution", "crops", "stride", "min_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.resolution > 4096:
            raise ConfigError(f"resolution must be at most 4096, got {self.resolution}")
        if self.clip_frames is not None and self.clip_frames < 1:
            raise ConfigError(f"clip_frames must be at least 1, got {self.clip_frames}")
        if self.fps is not None and (self.fps <= 0 or self.stride != 1):
            raise ConfigError(f"fps must be positive and cannot be combined with stride, got {self.fps}, {self.stride}")
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"quality must be between 1 and 100, got {self.quality}")
        if self.format not in ("jpeg", "png", "webp") or self.fit not in ("crop", "stretch"):
            raise ConfigError(f"unknown format or fit: {self.format!r}, {self.fit!r}")


@dataclass
class Clip:
    """Encoded frames of one clip and where they come from."""

    frames: list[bytes]
    source: str
    label: str
    crop: int
    first_frame: int
    fps: float


def crop_boxes(width: int, height: int, count: int) -> list[tuple[int, int, int, int]]:
    """`count` square boxes (left, top, right, bottom) along the longer side; one is centred."""
    side = min(width, height)
    slack = max(width, height) - side
    starts = [slack // 2] if count == 1 or slack == 0 else [round(slack * k / (count - 1)) for k in range(count)]
    if width >= height:
        return [(start, 0, start + side, side) for start in starts]
    return [(0, start, side, start + side) for start in starts]


def _keep_every(frames: Iterator[np.ndarray], step: float) -> Iterator[tuple[int, np.ndarray]]:
    """Frames at multiples of `step` (nearest; repeated where step < 1), with their index in the source."""
    position = 0
    for index, frame in enumerate(frames):
        while round(position * step) == index:
            yield index, frame
            position += 1


def process_source(source: Source, config: PrepareConfig) -> tuple[list[Clip], bool]:
    """Clips of one source, and whether any frame had to be enlarged.

    Raises:
        DataError: the source cannot be read or holds no frame.
    """
    fps = probe(source).fps or 25.0
    step = fps / config.fps if config.fps else float(config.stride)
    clip_fps = config.fps or fps / config.stride
    encoded: list[list[bytes]] = []
    thumbnails, indices, enlarged = [], [], False
    for index, frame in _keep_every(read_frames(source), step):
        height, width = frame.shape[:2]
        image = Image.fromarray(frame)
        enlarged |= min(height, width) < config.resolution
        size = (config.resolution, config.resolution)
        if config.fit == "stretch":
            squares = [image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)]
        else:
            squares = [
                image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
                for box in crop_boxes(width, height, config.crops)
            ]
        encoded.append([_encode(square, config) for square in squares])
        thumbnails.append(thumbnail(frame))
        indices.append(index)
    if not encoded:
        raise DataError(f"{source.name} holds no frame")
    cuts = find_cuts(np.stack(thumbnails)) if config.cut_scenes else []
    clips = []
    for start, stop in _ranges(len(encoded), cuts, config.clip_frames):
        if stop - start < config.min_frames:
            continue
        for crop in range(min(map(len, encoded[start:stop]))):
            frames = [squares[crop] for squares in encoded[start:stop]]
            clips.append(Clip(frames, source.name, source.label, crop, indices[start], clip_fps))
    return clips, enlarged


def _ranges(count: int, cuts: Sequence[int], clip_frames: int | None) -> list[tuple[int, int]]:
    edges = [0, *cuts, count]
    ranges = []
    for start, stop in zip(edges, edges[1:], strict=False):
        length = clip_frames or (stop - start)
        ranges += [(first, min(first + length, stop)) for first in range(start, stop, length)]
    return ranges


def _encode(image: Image.Image, config: PrepareConfig) -> bytes:
    buffer = io.BytesIO()
    if config.format == "jpeg":
        image.save(buffer, "JPEG", quality=config.quality, subsampling=0)
    elif config.format == "webp":
        image.save(buffer, "WEBP", quality=config.quality)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _in_order(
    sources: list[Source], config: PrepareConfig, workers: int
) -> Iterator[tuple[Source, tuple[list[Clip], bool] | DataError]]:
    """Results in the order of `sources`, whatever the number of workers; at most `2 * workers` wait in memory."""
    if workers <= 1:
        for source in sources:
            yield source, _process_or_error(source, config)
        return
    with ProcessPoolExecutor(workers) as pool:
        waiting: list[tuple[Source, Future[Any]]] = []
        rest = iter(sources)
        try:
            while True:
                for source in rest:
                    waiting.append((source, pool.submit(_process_or_error, source, config)))
                    if len(waiting) >= 2 * workers:
                        break
                if not waiting:
                    return
                source, future = waiting.pop(0)
                yield source, future.result()
        except BrokenProcessPool as error:
            raise DataError(
                f"a worker died while reading {source.name} or a neighbour (out of memory?); try --workers 1"
            ) from error


def _process_or_error(source: Source, config: PrepareConfig) -> tuple[list[Clip], bool] | DataError:
    try:
        return process_source(source, config)
    except DataError as error:
        return error


def prepare(
    paths: Sequence[Path],
    out: Path,
    config: PrepareConfig,
    *,
    workers: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Write the data archive `out` from all videos in `paths`; the same input gives the same bytes.

    Args:
        workers: processes; default one per CPU.
        progress: called with (sources done, sources in all, name).

    Returns:
        What `dataset.json` in the archive says, with `bytes` added.

    Raises:
        DataError: a path is missing, nothing is readable, or no clip is long enough.
    """
    sources = discover(list(paths))
    workers = min(workers or os.cpu_count() or 1, len(sources))
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    clips: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    enlarged: list[str] = []
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for done, (source, result) in enumerate(_in_order(sources, config, workers), start=1):
                if isinstance(result, DataError):
                    skipped.append({"source": source.name, "reason": str(result)})
                else:
                    if result[1]:
                        enlarged.append(source.name)
                    for clip in result[0]:
                        clips.append(_write_clip(archive, clip, f"{len(clips):05d}", config))
                if progress:
                    progress(done, len(sources), source.name)
            if not clips:
                raise DataError(_nothing(skipped, config))
            meta = _metadata(clips, skipped, enlarged, config)
            _write_member(archive, "dataset.json", json.dumps(meta, indent=1).encode())
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return {**meta, "bytes": out.stat().st_size}


def _nothing(skipped: list[dict[str, str]], config: PrepareConfig) -> str:
    if skipped:
        return f"none of the sources is readable; the first: {skipped[0]['reason']}"
    return f"no clip has {config.min_frames} frames or more; lower --min-frames"


def _metadata(
    clips: list[dict[str, Any]], skipped: list[dict[str, str]], enlarged: list[str], config: PrepareConfig
) -> dict[str, Any]:
    classes = sorted({clip["label"] for clip in clips}) if config.labels else []
    for clip in clips:
        clip["label"] = classes.index(clip["label"]) if config.labels else None
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "resolution": config.resolution,
        "classes": classes,
        "clips": clips,
        "skipped": skipped,
        "enlarged": enlarged,
        "settings": asdict(config),
        "made_by": f"gendef {__version__}",
    }


def _write_clip(archive: zipfile.ZipFile, clip: Clip, name: str, config: PrepareConfig) -> dict[str, Any]:
    suffix = {"jpeg": "jpg", "png": "png", "webp": "webp"}[config.format]
    for index, frame in enumerate(clip.frames):
        _write_member(archive, f"{name}/{index:06d}.{suffix}", frame)
    return {
        "name": name,
        "frames": len(clip.frames),
        "fps": clip.fps,
        "source": clip.source,
        "crop": clip.crop,
        "first_frame": clip.first_frame,
        "label": clip.label,
    }


def _write_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
