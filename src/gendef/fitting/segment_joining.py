"""Joining the clips of consecutive segments to one: names of layers, cross-fades, and the report on the whole."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gendef.fitting.options import OVERLAP
from gendef.media.footage import Scene, to_tensor
from gendef.metrics.image_quality import SSIM_WINDOW, psnr, ssim
from gendef.video.layer import SHOWN, Layer
from gendef.video.layered_video import LayeredVideo

SAME_OBJECT = 0.5
"""Two masks belong to one object if, in the frames that both segments show, they share more than this share of the
smaller mask."""


def with_names(clip: LayeredVideo, before: LayeredVideo | None, apart: int, new_numbers: Iterator[int]) -> LayeredVideo:
    """A segment whose objects have the names of the same objects in the segment before, or new names.

    Each segment detects moving objects by itself, and different ones may move in different segments.

    Args:
        before: the segment before, which begins `apart` frames earlier.
        new_numbers: numbers for objects that were not there.
    """
    layers, report = [clip.layers[0]], dict(clip.report)
    for layer in clip.layers[1:]:
        mine = torch.stack([layer.opacity(t) >= SHOWN for t in range(OVERLAP)])
        same = None
        for other in before.layers[1:] if before else []:
            theirs = torch.stack([other.opacity(apart + t) >= SHOWN for t in range(OVERLAP)])
            smaller = min(int(mine.sum()), int(theirs.sum()))
            if smaller and int((mine & theirs).sum()) > SAME_OBJECT * smaller:
                same = other.name
        layers.append(replace(layer, name=same or f"object {next(new_numbers)}"))
    if "layers" in report:
        report["layers"] = [
            {**entry, "name": layer.name} for entry, layer in zip(report["layers"], layers, strict=True)
        ]
    return LayeredVideo(layers, clip.fps, info=clip.info, report=report, visibility=clip.visibility)


def placed_layers(clip: LayeredVideo, start: int) -> list[Layer]:
    """The layers of a segment that begins at frame `start` of the whole clip; all but the first segment fade in.

    In the shared frames a layer has the weight of the fade where it is the topmost layer of its segment, and weight 0
    elsewhere. So the background of this segment has a hole behind its objects, and never lies between an object and
    the same object of the segment before, which would look transparent. The picture is the mean of both segments'
    pictures in these weights, even where their masks differ, and the topmost layer of all pixels of a frame belongs
    to one segment.
    """
    placed = []
    for number, layer in enumerate(clip.layers):
        alpha = layer.alpha
        if start:
            size = (layer.video.num_frames, *clip.size)
            alpha = torch.full(size, 255, dtype=torch.uint8) if alpha is None else alpha.clone()
            for t in range(layer.start, min(layer.end, OVERLAP)):
                weight = round(255 * (t + 1) / (OVERLAP + 1))
                alpha[t - layer.start] = weight * (clip.owners(t) == number)
        placed.append(replace(layer, alpha=alpha, start=start + layer.start))
    return placed


def measure_segments(video: LayeredVideo, scene: Scene, clips: Sequence[LayeredVideo], parts: Sequence[range]) -> None:
    """Set report and visibility of a video whose segments, at frames `parts`, are `clips`."""
    visible = torch.zeros(video.num_frames, *video.size, dtype=torch.bool)
    quality, similarity = _compared(video, scene)
    segment = [number for number, clip in enumerate(clips) for _ in clip.layers]
    for t in range(video.num_frames):
        number = segment[int(video.owners(t)[0, 0])]  # the same for all pixels, see `placed_layers`
        seen = clips[number].visibility
        if seen is not None:
            visible[t] = seen[t - parts[number].start]
    video.visibility = visible
    video.report = {
        "psnr": float(quality.mean()),
        "psnr_min": float(quality.min()),
        "explained": float(visible.float().mean()),
    }
    if len(similarity):
        video.report["ssim"] = float(similarity.mean())
    if video.layers[0].video.illumination is not None:
        quality, similarity = _compared(video.without_illumination(), scene)
        video.report["psnr_without_illumination"] = float(quality.mean())
        if len(similarity):
            video.report["ssim_without_illumination"] = float(similarity.mean())


def _compared(video: LayeredVideo, scene: Scene) -> tuple[Tensor, Tensor]:
    """PSNR and SSIM of each frame that is not blank; no SSIM for frames that are smaller than its window.

    Frames are rendered in chunks: there may be more than fit into memory.
    """
    quality, similarity, first = [], [torch.zeros(0)], 0
    for chunk in video.iter_frames():
        truth = to_tensor(scene.frames[first : first + len(chunk)])
        used = [t for t in range(len(chunk)) if first + t not in scene.blank]
        quality.append(psnr(chunk[used], truth[used]))
        if min(video.size) >= SSIM_WINDOW:
            similarity.append(ssim(chunk[used], truth[used]))
        first += len(chunk)
    return torch.cat(quality), torch.cat(similarity)
