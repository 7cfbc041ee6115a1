"""Features of clips: computed batch by batch and cached on disk under a hash of everything they depend on."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef._version import __version__
from gendef.errors import DataError
from gendef.evaluation.clip_sets import ClipSet
from gendef.evaluation.detectors import Detector
from gendef.evaluation.sampling import Sampling
from gendef.metrics.frechet import GaussianStatistics
from gendef.runtime.atomic_file import replacing

CACHE_VERSION = 1


@dataclass(frozen=True)
class Features:
    """Features of one side.

    Attributes:
        rows: float32 (N, D).
        statistics: their mean and covariance.
        clips: how many clips they are from.
        size: side of the frames before the detector's own resize.
        cached: whether they were read from disk.
        notes: of the clip set, such as damaged videos.
    """

    rows: np.ndarray
    statistics: GaussianStatistics
    clips: int
    size: int
    cached: bool
    notes: tuple[str, ...]


def default_cache() -> Path:
    """Folder of cached features: `gendef/features` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gendef" / "features"


def cache_key(clip_set: ClipSet, sampling: Sampling, detector: Detector) -> dict[str, Any]:
    """Everything the features depend on; no name of a file or a model is in it."""
    return {
        "format": CACHE_VERSION,
        "data": {"kind": clip_set.kind, "fingerprint": clip_set.fingerprint},
        "sampling": asdict(sampling),
        "detector": detector.facts(),
        "versions": {"gendef": __version__, "torch": torch.__version__},
    }


def compute_features(
    clip_set: ClipSet,
    sampling: Sampling,
    detector: Detector,
    *,
    batch_size: int = 4,
    cache: Path | None = None,
    on_clip: Callable[[int], None] = lambda count: None,
) -> Features:
    """Features of the clips that `sampling` draws from `clip_set`.

    Only one batch of clips is in memory at a time, besides the features.

    Args:
        batch_size: clips in a batch of the detector.
        cache: folder to look in first and to write to; None for neither.
        on_clip: called with the number of clips done after each batch.

    Raises:
        DataError: no clip can be drawn or read.
    """
    key = cache_key(clip_set, sampling, detector)
    path = cache / f"{_digest(key)}.npz" if cache is not None else None
    found = _read(path, key) if path is not None else None
    if found is not None:
        on_clip(found.clips)
        return found
    statistics, blocks, clips, size = GaussianStatistics(detector.spec.dimension), [], 0, 0
    for batch in _batches(clip_set.clips(sampling), batch_size):
        block = detector.features(batch).numpy()
        statistics.update(block)
        blocks.append(block)
        clips += len(batch)
        size = max(size, batch[0].shape[-1])
        on_clip(len(batch))
    if not clips:
        raise DataError(f"no clip of {clip_set.name} can be read: {'; '.join(clip_set.notes)}")
    rows = np.concatenate(blocks)
    if path is not None:
        _write(path, key, rows, clips, size, clip_set.notes)
    return Features(rows, statistics, clips, size, False, tuple(clip_set.notes))


def _batches(clips: Iterator[Tensor], size: int) -> Iterator[list[Tensor]]:
    batch: list[Tensor] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _read(path: Path, key: dict[str, Any]) -> Features | None:
    """The cached features; None if there are none or the file is damaged, which is then replaced."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            facts = json.loads(str(archive["facts"]))
            rows = archive["features"]
        if facts["key"] != json.loads(json.dumps(key)):
            return None
        return Features(rows, GaussianStatistics.of(rows), facts["clips"], facts["size"], True, tuple(facts["notes"]))
    except Exception:
        # A damaged zip raises nearly anything; the features can always be computed again.
        return None


def _write(path: Path, key: dict[str, Any], rows: np.ndarray, clips: int, size: int, notes: list[str]) -> None:
    facts = json.dumps({"key": key, "clips": clips, "size": size, "notes": notes})
    with replacing(path) as temporary:
        np.savez(temporary, features=rows, facts=np.array(facts))
