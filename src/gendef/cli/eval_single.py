"""The measures of `gendef eval` of one video, or of one video and its ground truth."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from gendef.cli.eval_single_arguments import Reconstruction, Segmentation, Temporal, Tracking
from gendef.cli.progress import progress_bar
from gendef.errors import InputError


def temporal(arguments: Temporal) -> dict[str, Any]:
    """The report of `gendef eval temporal`."""
    from gendef.evaluation.videos import iter_video
    from gendef.metrics.temporal import folding
    from gendef.metrics.temporal import temporal as measure
    from gendef.video.clip_format import META
    from gendef.video.layered_video import load_clip

    edited = iter_video(arguments.edited) if arguments.edited is not None else None
    with progress_bar() as progress:
        task = progress.add_task("frames", total=None)
        report: dict[str, Any] = {"video": str(arguments.video)}
        frames = _counted(iter_video(arguments.video), lambda: progress.advance(task))
        report |= measure(frames, edited).summary()
    if (arguments.video / META).is_file():
        layers = load_clip(arguments.video).layers
        parts = [(len(layer.video.deformation), folding(layer.video.deformation)) for layer in layers]
        total = sum(frames for frames, _ in parts)
        report["folded_share"] = sum(frames * part["folded_share"] for frames, part in parts) / total
        report["folded_share_worst_frame"] = max(part["folded_share_worst_frame"] for _, part in parts)
    return report


def _counted(frames: Iterator[np.ndarray], on_frame: Any) -> Iterator[np.ndarray]:
    for frame in frames:
        on_frame()
        yield frame


def reconstruction(arguments: Reconstruction) -> dict[str, Any]:
    """The report of `gendef eval reconstruction`."""
    from gendef.evaluation.videos import iter_video
    from gendef.metrics.image_quality import reconstruction as measure
    from gendef.metrics.lpips import load_lpips

    network, checksum = load_lpips(arguments.lpips_weights) if arguments.lpips_weights is not None else (None, None)
    resized = False
    frames = 0

    def pairs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        nonlocal resized, frames
        for one, other in itertools.zip_longest(iter_video(arguments.video), iter_video(arguments.truth)):
            if one is None or other is None:
                raise InputError(f"the videos differ in length: one ends after {frames} frames")
            if one.shape != other.shape:
                other, resized = _resized(other, one.shape[:2]), True
            frames += 1
            progress.advance(task)
            yield _tensor(one), _tensor(other)

    with progress_bar() as progress:
        task = progress.add_task("frames", total=None)
        score = measure(pairs(), network)
    report = {"video": str(arguments.video), "truth": str(arguments.truth), "frames": frames, **score.summary()}
    return report | {"truth_resized": resized, "lpips_weights_sha256": checksum}


def _tensor(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()).float() / 127.5 - 1


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.LANCZOS, reducing_gap=3.0))


def tracking(arguments: Tracking) -> dict[str, Any]:
    """The report of `gendef eval tracking`."""
    from gendef.evaluation.videos import read_tracks
    from gendef.metrics.tapvid import tap_vid

    seen, true = read_tracks(arguments.tracks), read_tracks(arguments.truth)
    if true["positions"].ndim != 3 or true["visible"].shape != true["positions"].shape[:2]:
        raise InputError(f"{arguments.truth} must hold positions (N, T, 2) and visible (N, T)")
    count = len(true["positions"])
    points = seen.get("points", np.arange(count))
    if len(points) != len(seen["positions"]) or (len(points) and not 0 <= points.min() <= points.max() < count):
        raise InputError(
            f"{arguments.tracks} has {len(seen['positions'])} tracks for {len(points)} of the {count} true points;"
            " one track for each is needed, or an array `points` that says which they belong to"
        )
    size = arguments.size or _size_of(true)
    positions, visible = seen["positions"], true["visible"][points].astype(bool)
    if size is not None and _size_of(seen) not in (None, size):
        # Pixel centres lie at whole numbers, so that edges are at -0.5.
        ratio = np.array([size[1], size[0]]) / np.array(_size_of(seen))[::-1]
        positions = (positions + 0.5) * ratio - 0.5
    query = _query_frames(arguments, seen, true, points, visible)
    # A point that is never visible cannot be a query.
    asked = query < visible.shape[1]
    score = tap_vid(
        positions[asked],
        seen["visible"][asked],
        true["positions"][points][asked],
        visible[asked],
        query[asked],
        mode=arguments.mode,
        size=size,
    )
    return {
        "tracks": str(arguments.tracks),
        "truth": str(arguments.truth),
        "points": int(np.count_nonzero(asked)),
        "mode": arguments.mode,
        "rescaled_from": list(size) if size is not None else None,
        **score.summary(),
        "jaccard": score.jaccard,
        "within": score.within,
    }


def _size_of(arrays: dict[str, Any]) -> tuple[int, int] | None:
    return (int(arrays["size"][0]), int(arrays["size"][1])) if "size" in arrays else None


def _query_frames(
    arguments: Tracking, seen: dict[str, Any], true: dict[str, Any], points: np.ndarray, visible: np.ndarray
) -> np.ndarray:
    """The query frame of each track; the number of frames for points that are never visible."""
    if arguments.query_frame is not None:
        return np.full(len(points), arguments.query_frame)
    if "query_frames" in seen:
        return seen["query_frames"]
    if "query_frames" in true:
        return true["query_frames"][points]
    if arguments.mode == "strided":
        raise InputError("the mode strided needs query_frames in one of the files, or --query-frame")
    return np.where(visible.any(axis=1), visible.argmax(axis=1), visible.shape[1])


def segmentation(arguments: Segmentation) -> dict[str, Any]:
    """The report of `gendef eval segmentation`."""
    from gendef.evaluation.videos import read_masks
    from gendef.metrics.davis import davis

    seen, true = read_masks(arguments.masks), read_masks(arguments.truth)
    if len(seen) == len(true):
        pairs = list(zip(seen.values(), true.values(), strict=True))
    elif set(true) <= set(seen):
        pairs = [(seen[name], mask) for name, mask in true.items()]
    else:
        raise InputError(
            f"{arguments.masks} has {len(seen)} masks and {arguments.truth} {len(true)}, and their names do not match"
        )
    resized = any(one.shape != other.shape for one, other in pairs)
    score = davis(
        np.stack([_nearest(one, other.shape) for one, other in pairs]),
        np.stack([other for _, other in pairs]),
        skip_ends=arguments.skip_ends,
    )
    objects = {str(item.label): {"j_mean": item.j.mean, "f_mean": item.f.mean} for item in score.objects}
    return {
        "masks": str(arguments.masks),
        "truth": str(arguments.truth),
        "frames": len(score.objects[0].j_frames),
        **score.summary(),
        "masks_resized": resized,
        "objects": objects,
    }


def _nearest(labels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Labels at another size: of each new pixel, the old one its centre lies in."""
    if labels.shape == size:
        return labels
    sides = zip(size, labels.shape, strict=True)
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in sides)
    return labels[rows][:, columns]
