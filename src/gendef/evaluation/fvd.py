"""FVD, KVD and similar distances of two sets of clips, in a report with all settings needed to reproduce them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gendef.errors import InputError
from gendef.evaluation.clip_sets import ClipSet, frame_rate_warnings
from gendef.evaluation.detectors import Detector
from gendef.evaluation.features import Features, compute_features
from gendef.evaluation.report import Report, SeededValue, versions
from gendef.evaluation.sampling import Sampling
from gendef.metrics.frechet import frechet_distance
from gendef.metrics.kernel_distance import kernel_distance


def measure_names(detector: Detector) -> tuple[str, str]:
    """Names of the Frechet and the kernel distance; only I3D's may be called FVD and KVD."""
    if detector.spec.name == "i3d":
        return "FVD", "KVD"
    return f"Frechet distance ({detector.spec.name})", f"kernel distance ({detector.spec.name})"


def compare(
    fake: ClipSet,
    real: ClipSet,
    detector: Detector,
    sampling: Sampling,
    seeds: Sequence[int] = (0,),
    *,
    batch_size: int = 4,
    cache: Path | None = None,
    on_clip: Callable[[int], None] = lambda count: None,
) -> Report:
    """Frechet and kernel distance of two sets of clips.

    Args:
        sampling: of both sides; its seed is replaced by each of `seeds`, which draw other clips of the data and other
            videos of a model.
        cache: folder of features; None keeps none.
        on_clip: called with the number of clips done after each batch.

    Raises:
        InputError: no seed, or a side has fewer than two clips.
        DataError: no clip can be drawn.
    """
    if not seeds:
        raise InputError("give at least one seed")
    started = time.perf_counter()
    frechet, kernel = (SeededValue(name) for name in measure_names(detector))
    warnings: list[str] = []
    sides: list[tuple[Features, Features]] = []
    for seed in seeds:
        drawn = replace(sampling, seed=seed)
        one, other = (
            compute_features(side, drawn, detector, batch_size=batch_size, cache=cache, on_clip=on_clip)
            for side in (fake, real)
        )
        for side, found in ((fake, one), (real, other)):
            if found.statistics.count < 2:
                raise InputError(f"{side.name} gives {found.clips} clip with these settings; at least 2 are needed")
        distance = frechet_distance(one.statistics, other.statistics)
        frechet.values.append(distance.value)
        near = kernel_distance(one.rows, other.rows, seed=seed)
        kernel.values.append(near.value)
        kernel.errors.append(near.spread)
        sides.append((one, other))
    warnings += _rank_warnings(sides, detector, frechet.name, kernel.name)
    warnings += frame_rate_warnings(fake, real) if sampling.frames > 1 else []
    warnings += _other_warnings(sides, sampling, seeds, frechet)
    facts = {
        "fake": {**fake.facts(), **_side_facts([one for one, _ in sides])},
        "real": {**real.facts(), **_side_facts([other for _, other in sides])},
        "sampling": sampling.facts(),
        "truncation": sampling.truncation,
        "seeds": list(seeds),
        "detector": detector.facts(),
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return Report([frechet, kernel], facts, warnings)


def _side_facts(features: list[Features]) -> dict[str, Any]:
    first = features[0]
    return {
        "clips": first.clips,
        "feature_vectors": first.statistics.count,
        "frame_size": first.size,
        "from_cache": all(found.cached for found in features),
        "notes": list(first.notes),
    }


def _rank_warnings(sides: list[tuple[Features, Features]], detector: Detector, frechet: str, kernel: str) -> list[str]:
    fewest = min(found.statistics.count for pair in sides for found in pair)
    dimension = detector.spec.dimension
    if fewest > dimension:
        return []
    return [
        f"TOO FEW SAMPLES: {fewest} feature vectors on one side for {dimension} dimensions. The covariance is"
        f" rank-deficient, so that the {frechet} says more about the number of samples than about the videos; go by the"
        f" {kernel}, which is unbiased."
    ]


def _other_warnings(
    sides: list[tuple[Features, Features]], sampling: Sampling, seeds: Sequence[int], frechet: SeededValue
) -> list[str]:
    one, other = sides[0]
    found = []
    if one.size != other.size:
        found.append(
            f"the generated frames are {one.size} pixels wide and the real ones {other.size}: part of the distance is"
            f" sharpness; --size {min(one.size, other.size)} brings both to one size"
        )
    if one.clips != other.clips:
        found.append(f"{one.clips} generated clips are compared with {other.clips} real ones")
    if len(seeds) > 1 and frechet.spread == 0:
        found.append("every seed drew the same clips, so that the spread over seeds says nothing")
    if sampling.truncation != 1:
        found.append(f"the model's videos are truncated ({sampling.truncation:g}), which trades variety for quality")
    return found + [note for features in (one, other) for note in features.notes]
