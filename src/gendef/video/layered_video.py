"""A video of several layers, each with its own canonical image, field and alpha.

A long clip is a layered video too: its segments are layers that begin and end, with a cross-fade where they overlap.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.media.frame_times import checked_fps
from gendef.video.base import Video, counted
from gendef.video.canonical_video import CanonicalVideo, checked_visibility
from gendef.video.clip_format import LAYERED_VERSION
from gendef.video.clip_reader import read_meta
from gendef.video.layer import Layer
from gendef.video.layered_format import LayeredWriter, read_alpha, read_layers
from gendef.video.layered_tracks import canonical_labels_of_layers, segment_layers, track_layers
from gendef.video.point_tracks import Tracks


class LayeredVideo(Video):
    """A video of layers, the first at the back.

    Args:
        layers: of one frame size; what no layer covers is black.
        fps: frames a second.
        info: how the clip was made; plain values, saved with it.
        report: what a fit reached.
        visibility: (T, H, W) bool, where the layers explain the frames that were fitted; None if unknown.

    Raises:
        InputError: there is no layer, sizes differ, or an alpha is not uint8 (n, H, W).
    """

    def __init__(
        self,
        layers: Sequence[Layer[CanonicalVideo]],
        fps: float = 25.0,
        *,
        info: dict[str, Any] | None = None,
        report: dict[str, Any] | None = None,
        visibility: Any = None,
    ) -> None:
        if not layers:
            raise InputError("a layered video needs at least one layer")
        for number, layer in enumerate(layers):
            if layer.video.size != layers[0].video.size:
                raise InputError(f"layer {number} has frames of {layer.video.size}, layer 0 of {layers[0].video.size}")
            expected = (layer.video.num_frames, *layer.video.size)
            if layer.alpha is not None and (layer.alpha.dtype != torch.uint8 or tuple(layer.alpha.shape) != expected):
                got = f"{layer.alpha.dtype} {tuple(layer.alpha.shape)}"
                raise InputError(f"the alpha of layer {number} must be uint8 {expected}, got {got}")
            if layer.start < 0:
                raise InputError(f"layer {number} begins at frame {layer.start}: it must be 0 or later")
        self._layers = list(layers)
        self.fps = checked_fps(fps)
        self.info = dict(info or {})
        self.report = dict(report or {})
        self.visibility = checked_visibility(visibility, (self.num_frames, *self.size))

    @property
    def layers(self) -> list[Layer[CanonicalVideo]]:
        """The layers, the first at the back."""
        return self._layers

    @property
    def canonical_images(self) -> list[tuple[str, Tensor]]:
        """For each layer its number with its name, and its canonical image (3, h, w)."""
        return [(f"layer {number}: {layer.name}", layer.video.canonical) for number, layer in enumerate(self.layers)]

    def __repr__(self) -> str:
        height, width = self.size
        count = len(self.layers)
        return f"LayeredVideo({count} layers, {self.num_frames} frames of {width}x{height}, {self.fps:g} fps)"

    def with_layer(self, number: int, video: Any) -> "LayeredVideo":
        """The same clip with another video of the same field in the place of a layer's.

        Raises:
            InputError: there is no such layer, or the video is of another shape.
        """
        old = self.layers[self.checked_layer(number)]
        if (video.num_frames, video.size) != (old.video.num_frames, old.video.size):
            raise InputError(f"layer {number} is {old.video}, and {video} does not fit in its place")
        layers = [replace(old, video=video) if k == number else layer for k, layer in enumerate(self.layers)]
        return LayeredVideo(layers, self.fps, info=self.info, report=self.report, visibility=self.visibility)

    def without_illumination(self) -> "LayeredVideo":
        """The same video, every layer in the light of its canonical image throughout."""
        layers = [replace(layer, video=layer.video.without_illumination()) for layer in self.layers]
        return LayeredVideo(layers, self.fps, info=self.info, report=self.report, visibility=self.visibility)

    def track(self, points: Any, frame: int | None = None, layer: int = 0) -> Tracks:
        """Track points (x, y) in pixels through the video; see `Video.track` and `gendef.video.layered_tracks`."""
        return track_layers(self.layers, points, frame, self.checked_layer(layer), self.visibility)

    def segment(self, mask: Any, frame: int | None = None, layer: int = 0) -> Tensor:
        """Propagate a mask or label map to all frames; see `Video.segment` and `gendef.video.layered_tracks`."""
        return segment_layers(self.layers, mask, frame, self.checked_layer(layer))

    def canonical_labels(self, mask: Any, frame: int | None = None, layer: int = 0) -> list[Tensor]:
        """A mask or label map on the canonical image (Hc, Wc) of each layer; see `Video.canonical_labels`."""
        return canonical_labels_of_layers(self.layers, mask, frame, self.checked_layer(layer))

    def save(
        self, folder: str | Path, *, layer_previews: bool = True, on_frames: Callable[[int], None] = lambda count: None
    ) -> None:
        """Write the clip as a folder (docs/format.md); an existing clip there is replaced at the end.

        Args:
            folder: where to.
            layer_previews: also write a preview of each layer.
            on_frames: called with the number of frames after each chunk that was rendered.
        """
        with LayeredWriter(folder, (self.num_frames, *self.size), self.fps, self.info, self.report) as writer:
            for layer in self.layers:
                save = partial(layer.video.save, preview=layer_previews)
                writer.add_layer(save, layer.alpha, layer.start, layer.name)
            for chunk in counted(self.iter_frames(), on_frames):
                writer.append(chunk)
            writer.visibility = self.visibility

    @classmethod
    def load(cls, folder: str | Path) -> "LayeredVideo":
        """A saved clip with layers; edited pictures in it take effect.

        Raises:
            ClipError: a file is missing, damaged, hostile or of an unknown version, or the clip has no layers.
        """
        stored = read_layers(folder)
        layers = []
        for entry in stored.layers:
            video = CanonicalVideo.load(entry.folder)
            shape = (video.num_frames, *video.size)
            alpha = read_alpha(entry.folder, shape, still=entry.still_alpha) if entry.has_alpha else None
            layers.append(Layer(video, alpha, entry.start, entry.name))
        return cls(layers, stored.fps, info=stored.info, report=stored.report, visibility=stored.visibility)


def load_clip(folder: str | Path) -> Video:
    """A saved clip, with or without layers.

    Raises:
        ClipError: a file is missing, damaged, hostile or of an unknown version.
    """
    layered = read_meta(Path(folder))["version"] == LAYERED_VERSION
    return LayeredVideo.load(folder) if layered else CanonicalVideo.load(folder)


def to_alpha(share: Any) -> Tensor:
    """Bool, or floating in [0, 1], of any shape, as alpha in uint8."""
    value = share if isinstance(share, Tensor) else torch.from_numpy(np.asarray(share))
    return (value.float().clamp(0, 1) * 255).round().to(torch.uint8)
