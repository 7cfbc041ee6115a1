"""A video of several images that move: layers, each with its own canonical image, field and alpha, one over the other.

A moving person and the background behind it do not share one image without tearing; as two layers they do not have to.
A long clip is the same thing: segments in time are layers that begin and end, with a cross-fade where they overlap.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.media.images import resized
from gendef.media.video_writer import checked_fps
from gendef.video.base import Video
from gendef.video.canonical_video import CHUNK_PIXELS, CanonicalVideo, checked_visibility
from gendef.video.clip_format import LAYERED_VERSION, read_meta
from gendef.video.layered_format import LayeredWriter, read_alpha, read_layers

if TYPE_CHECKING:
    from gendef.video.point_tracks import Tracks

SHOWN = 0.5
"""Alpha from which on a pixel belongs to a layer."""


@dataclass(frozen=True)
class Layer:
    """One image that moves, and where it shows.

    Attributes:
        video: of n frames.
        alpha: (n, H, W) uint8, 255 where the layer hides what is below; None: everywhere.
        start: number of the composite's frame at which the layer begins; outside its n frames it shows nothing.
        name: layers of one name are parts in time of the same thing; points and masks go on from one to the next where
            they overlap.
    """

    video: CanonicalVideo
    alpha: Tensor | None = None
    start: int = 0
    name: str = "background"

    @property
    def end(self) -> int:
        """Number of the frame after the last."""
        return self.start + self.video.num_frames

    def opacity(self, frame: int) -> Tensor:
        """Alpha in a frame of the composite, (H, W) in [0, 1]."""
        if not self.start <= frame < self.end:
            return torch.zeros(self.video.size)
        if self.alpha is None:
            return torch.ones(self.video.size)
        return self.alpha[frame - self.start].float() / 255


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
        layers: Sequence[Layer],
        fps: float = 25.0,
        *,
        info: dict[str, Any] | None = None,
        report: dict[str, Any] | None = None,
        visibility: Any = None,
    ) -> None:
        if not layers:
            raise InputError("a composite video needs at least one layer")
        for number, layer in enumerate(layers):
            if layer.video.size != layers[0].video.size:
                raise InputError(f"layer {number} has frames of {layer.video.size}, layer 0 of {layers[0].video.size}")
            expected = (layer.video.num_frames, *layer.video.size)
            if layer.alpha is not None and (layer.alpha.dtype != torch.uint8 or tuple(layer.alpha.shape) != expected):
                got = f"{layer.alpha.dtype} {tuple(layer.alpha.shape)}"
                raise InputError(f"the alpha of layer {number} must be uint8 {expected}, got {got}")
            if layer.start < 0:
                raise InputError(f"layer {number} begins at frame {layer.start}: it must be 0 or later")
        self.layers = list(layers)
        self.fps = checked_fps(fps)
        self.info = dict(info or {})
        self.report = dict(report or {})
        self.visibility = checked_visibility(visibility, (self.num_frames, *self.size))

    @property
    def num_frames(self) -> int:
        """Number of frames, to the end of the layer that ends last."""
        return max(layer.end for layer in self.layers)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.layers[0].video.size

    def __repr__(self) -> str:
        height, width = self.size
        count = len(self.layers)
        return f"LayeredVideo({count} layers, {self.num_frames} frames of {width}x{height}, {self.fps:g} fps)"

    def iter_frames(self, size: tuple[int, int] | None = None, frames: Sequence[int] | None = None) -> Iterator[Tensor]:
        """Rendered frames in chunks (n, 3, H, W), so that memory does not grow with the video; see `render`."""
        height, width = self._checked_size(size)
        canonicals = [layer.video.filtered_canonical((height, width)) for layer in self.layers]
        step = max(CHUNK_PIXELS // (height * width), 1)
        chosen = self._checked_frames(frames)
        for begin in range(0, len(chosen), step):
            part = chosen[begin : begin + step]
            picture = torch.full((len(part), 3, height, width), -1.0)
            for layer, canonical in zip(self.layers, canonicals, strict=True):
                rows = [row for row, t in enumerate(part) if layer.start <= t < layer.end]
                if rows:
                    _put_over(picture, rows, layer, canonical, [part[row] for row in rows])
            yield picture

    def owners(self, frame: int) -> Tensor:
        """Number of the topmost layer that shows at each pixel of a frame, (H, W) int64; -1 where there is none."""
        owner = torch.full(self.size, -1)
        for number, layer in enumerate(self.layers):
            if layer.start <= frame < layer.end:
                owner[layer.opacity(frame) >= SHOWN] = number
        return owner

    def parts(self, name: str) -> list[int]:
        """Numbers of the layers of one name, in the order of time: by the middle of their frames."""
        mine = [k for k, layer in enumerate(self.layers) if layer.name == name]
        return sorted(mine, key=lambda k: self.layers[k].start + self.layers[k].end)

    def checked_layer(self, number: int) -> int:
        """The number of a layer.

        Raises:
            InputError: there is no such layer.
        """
        if not 0 <= number < len(self.layers):
            raise InputError(f"layer must be between 0 and {len(self.layers) - 1}, got {number}")
        return int(number)

    def with_layer(self, number: int, video: CanonicalVideo) -> "LayeredVideo":
        """The same composite with another video of the same field in the place of a layer's.

        Raises:
            InputError: there is no such layer, or the video is of another shape.
        """
        old = self.layers[self.checked_layer(number)]
        if (video.num_frames, video.size) != (old.video.num_frames, old.video.size):
            raise InputError(f"layer {number} is {old.video}, and {video} does not fit in its place")
        layers = [replace(old, video=video) if k == number else layer for k, layer in enumerate(self.layers)]
        return LayeredVideo(layers, self.fps, info=self.info, report=self.report, visibility=self.visibility)

    def with_canonical(self, image: Any, layer: int = 0) -> "LayeredVideo":
        """The same motion with another canonical image of one layer; see `CanonicalVideo.with_canonical`."""
        return self.with_layer(layer, self.layers[self.checked_layer(layer)].video.with_canonical(image))

    def without_illumination(self) -> "LayeredVideo":
        """The same video, every layer in the light of its canonical image throughout."""
        layers = [replace(layer, video=layer.video.without_illumination()) for layer in self.layers]
        return LayeredVideo(layers, self.fps, info=self.info, report=self.report, visibility=self.visibility)

    def track(self, points: Any, frame: int | None = None, layer: int = 0) -> "Tracks":
        """Follow points (x, y) in pixels through the video; see `gendef.video.layered_tracks`.

        Args:
            points: (N, 2), on a frame, or on the canonical image of a layer.
            frame: that frame, where each point belongs to the layer that shows there; None means a canonical image.
            layer: which layer's canonical image.
        """
        from gendef.video.layered_tracks import track_layers

        return track_layers(self, points, frame, layer)

    def segment(self, mask: Any, frame: int | None = None, layer: int = 0) -> Tensor:
        """Carry a mask or label map to all frames, (T, H, W); see `gendef.video.layered_tracks`.

        Args:
            mask: (H, W), on a frame, or on the canonical image of a layer.
            frame: that frame; None means a canonical image.
            layer: which layer's canonical image.
        """
        from gendef.video.layered_tracks import segment_layers

        return segment_layers(self, mask, frame, layer)

    def flow(self, kind: Literal["canonical", "image"] = "image") -> Tensor:
        """Optical flow from each frame to the next, (T - 1, H, W, 2), of the layer that shows; see
        `CanonicalVideo.flow`."""
        from gendef.video.flow import iter_flow

        if kind not in ("canonical", "image"):
            raise InputError(f"kind must be canonical or image, got {kind!r}")
        pairs = list(iter_flow(self, kind))
        return torch.stack(pairs) if pairs else torch.zeros(0, *self.size, 2)

    def save(self, folder: str | Path) -> None:
        """Write the clip as a folder (docs/format.md); an existing clip there is replaced at the end."""
        with LayeredWriter(folder, (self.num_frames, *self.size), self.fps, self.info, self.report) as writer:
            for layer in self.layers:
                writer.add_layer(layer.video.save, layer.alpha, layer.start, layer.name)
            for chunk in self.iter_frames():
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
            alpha = read_alpha(entry.folder, (video.num_frames, *video.size)) if entry.has_alpha else None
            layers.append(Layer(video, alpha, entry.start, entry.name))
        return cls(layers, stored.fps, info=stored.info, report=stored.report, visibility=stored.visibility)


def _put_over(picture: Tensor, rows: list[int], layer: Layer, canonical: Tensor, frames: list[int]) -> None:
    """Put frames of a layer over rows of a picture (n, 3, H, W), in place."""
    size = (picture.shape[2], picture.shape[3])
    shown = layer.video.warped(canonical, [t - layer.start for t in frames], size)
    if layer.alpha is None:
        picture[rows] = shown
        return
    alpha = torch.stack([resized(layer.opacity(t)[None], size) for t in frames])
    below = picture[rows]
    mixed = torch.lerp(below, shown, alpha)
    picture[rows] = torch.where(alpha >= 1, shown, torch.where(alpha > 0, mixed, below))


def load_clip(folder: str | Path) -> CanonicalVideo | LayeredVideo:
    """A saved clip, with or without layers.

    Raises:
        ClipError: a file is missing, damaged, hostile or of an unknown version.
    """
    layered = read_meta(Path(folder))["version"] == LAYERED_VERSION
    return LayeredVideo.load(folder) if layered else CanonicalVideo.load(folder)


def canonical_pictures(video: CanonicalVideo | LayeredVideo) -> list[tuple[str, Tensor]]:
    """Names and canonical images (3, h, w) of a clip: one, or one for each layer."""
    if isinstance(video, CanonicalVideo):
        return [("canonical image", video.canonical)]
    return [(f"layer {number}: {layer.name}", layer.video.canonical) for number, layer in enumerate(video.layers)]


def edit_layer(video: LayeredVideo, number: int, change: Callable[[CanonicalVideo], CanonicalVideo]) -> LayeredVideo:
    """A composite with one layer's canonical image changed by a function."""
    return video.with_layer(number, change(video.layers[video.checked_layer(number)].video))


def to_alpha(share: Any) -> Tensor:
    """Bool, or floating in [0, 1], of any shape, as alpha in uint8."""
    value = share if isinstance(share, Tensor) else torch.from_numpy(np.asarray(share))
    return (value.float().clamp(0, 1) * 255).round().to(torch.uint8)
