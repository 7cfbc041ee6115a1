"""The base class of all clips."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.media.animated_pictures import write_gif
from gendef.media.images import resized, to_uint8
from gendef.media.video_writer import write_video
from gendef.video import layer as layer_functions
from gendef.video.flow import Kind, checked_kind, layered_flow
from gendef.video.layer import Layer, Layers
from gendef.video.point_tracks import Tracks, checked_frame

CHUNK_PIXELS = 2**22
"""Pixels that are rendered at a time."""


class Video(ABC):
    """A clip of one or several layers, each a canonical image that moves.

    `gendef.CanonicalVideo` has one layer, `gendef.video.layered_video.LayeredVideo` several.

    Attributes:
        fps: frames a second.
        info: how the clip was made; plain values, saved with it.
        report: what a fit reached (PSNR and so on).
        visibility: (T, H, W) bool, where the clip explains the frames that were fitted; None if unknown.
    """

    fps: float
    info: dict[str, Any]
    report: dict[str, Any]
    visibility: Tensor | None

    @property
    @abstractmethod
    def layers(self) -> Layers:
        """The layers, the first at the back; what no layer covers is black."""

    @property
    @abstractmethod
    def canonical_images(self) -> list[tuple[str, Tensor]]:
        """For each layer a title and its canonical image (3, h, w)."""

    @property
    def frame_times(self) -> list[float] | None:
        """Seconds from the first frame at which each frame is shown; None if the frame rate is constant.

        Clips of footage with a varying frame rate keep them in `info`.
        """
        times = self.info.get("frame_times")
        return times if isinstance(times, list) and len(times) == self.num_frames else None

    @property
    def num_frames(self) -> int:
        """Number of frames, to the end of the layer that ends last."""
        return layer_functions.frame_count(self.layers)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        height, width = self.layers[0].video.size
        return height, width

    def owners(self, frame: int) -> Tensor:
        """Index of the topmost visible layer at each pixel of a frame, (H, W) int64; -1 where there is none."""
        return layer_functions.owners(self.layers, frame)

    def parts(self, name: str) -> list[int]:
        """Numbers of the layers of one name, in the order of time: by the middle of their frames."""
        return layer_functions.parts(self.layers, name)

    def checked_frame(self, frame: int) -> int:
        """The number of a frame.

        Raises:
            InputError: the video has no such frame.
        """
        return checked_frame(frame, self.num_frames)

    def checked_layer(self, number: int) -> int:
        """The number of a layer.

        Raises:
            InputError: there is no such layer.
        """
        if not 0 <= number < len(self.layers):
            raise InputError(f"layer must be between 0 and {len(self.layers) - 1}, got {number}")
        return int(number)

    # Rendering

    def iter_frames(self, size: tuple[int, int] | None = None, frames: Sequence[int] | None = None) -> Iterator[Tensor]:
        """Rendered frames in chunks (n, 3, H, W), so that memory does not grow with the video; see `render`."""
        height, width = self._checked_size(size)
        canonicals = [layer.video.filtered_canonical((height, width)) for layer in self.layers]
        step = max(CHUNK_PIXELS // (height * width), 1)
        chosen = range(self.num_frames) if frames is None else [self.checked_frame(frame) for frame in frames]
        if not chosen:
            raise InputError("the list of frames to render is empty")
        for begin in range(0, len(chosen), step):
            part = chosen[begin : begin + step]
            picture = torch.full((len(part), 3, height, width), -1.0)
            for layer, canonical in zip(self.layers, canonicals, strict=True):
                picture = _over(picture, layer, canonical, part)
            yield picture

    def render(self, size: tuple[int, int] | None = None, frames: Sequence[int] | None = None) -> Tensor:
        """Frames, (T, 3, H, W) in [-1, 1].

        Args:
            size: height and width; default the field's. The canonical images are sampled at that resolution directly,
                so a large canonical image gives a sharp large video.
            frames: numbers of the frames to render; default all.

        Raises:
            InputError: the size is not positive, or a frame does not exist.
        """
        return torch.cat(list(self.iter_frames(size, frames)))

    def iter_pictures(self, size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """All frames one by one as pictures, uint8 (H, W, 3); see `render`."""
        return (frame for chunk in self.iter_frames(size) for frame in to_uint8(chunk))

    def _checked_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if size is None:
            return self.size
        if len(size) != 2 or min(size) < 1:
            raise InputError(f"size must be a positive height and width, got {size}")
        return int(size[0]), int(size[1])

    # Editing

    @abstractmethod
    def with_layer(self, number: int, video: Any) -> "Video":
        """The same clip with another `CanonicalVideo` in the place of a layer's.

        Raises:
            InputError: there is no such layer, or the video has other frames.
        """

    def with_canonical(self, image: Any, layer: int = 0) -> "Video":
        """The same motion with another canonical image of one layer; see `CanonicalVideo.with_canonical`."""
        return self.with_layer(layer, self.layers[self.checked_layer(layer)].video.with_canonical(image))

    def map_canonical(self, change: Callable[[Tensor], Any]) -> "Video":
        """The same motion with the canonical image (3, h, w) of every layer changed by a function."""
        result: Video = self
        for number, (_, image) in enumerate(self.canonical_images):
            result = result.with_canonical(change(image.clone()), number)
        return result

    @abstractmethod
    def without_illumination(self) -> "Video":
        """The same video, in the light of the canonical images throughout."""

    # Points, labels, flow

    @abstractmethod
    def track(self, points: Any, frame: int | None = None, layer: int = 0) -> Tracks:
        """Track points (x, y) in pixels through the video.

        Args:
            points: (N, 2), on a frame, where each point belongs to the topmost layer, or on a canonical image.
            frame: that frame; None means a canonical image.
            layer: number of the layer whose canonical image it is.

        Raises:
            InputError: the points cannot be used, or there is no such frame or layer.
        """

    @abstractmethod
    def segment(self, mask: Any, frame: int | None = None, layer: int = 0) -> Tensor:
        """Propagate a mask or label map to all frames: (T, H, W), bool for a mask, else in the given type.

        Args:
            mask: (H, W), on a frame or on a canonical image.
            frame: that frame; None means a canonical image.
            layer: number of the layer whose canonical image it is.

        Raises:
            InputError: the mask cannot be used, or there is no such frame or layer.
        """

    @abstractmethod
    def canonical_labels(self, mask: Any, frame: int | None = None, layer: int = 0) -> list[Tensor]:
        """A mask or label map on the canonical image (Hc, Wc) of each layer; arguments as for `segment`."""

    def iter_flow(self, kind: Kind = "image") -> Iterator[Tensor]:
        """The flow (H, W, 2) of one pair of frames after the other; see `flow`."""
        kind = checked_kind(kind)
        return (self.pair_flow(frame, kind) for frame in range(self.num_frames - 1))

    def pair_flow(self, frame: int, kind: Kind = "image") -> Tensor:
        """The flow (H, W, 2) from a frame to the next; see `flow`."""
        return layered_flow(self.layers, frame, kind)

    def flow(self, kind: Kind = "image") -> Tensor:
        """Optical flow from each frame to the next, (T - 1, H, W, 2), x then y, of the layer that shows at each pixel.

        "canonical" is the paper's flow m_{t+1} - m_t (GenDeF, section 3.3), the change of the sampling positions, in
        pixels of the canonical image. "image" is the motion of the content of each pixel to the next frame, in
        frame pixels, by inversion of the field; NaN where that has no solution.

        Raises:
            InputError: another kind.
        """
        pairs = list(self.iter_flow(kind))
        return torch.stack(pairs) if pairs else torch.zeros(0, *self.size, 2)

    # Files

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the clip as a folder (docs/format.md); an existing clip there is replaced at the end."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path) -> "Video":
        """A saved clip of this class; edited pictures in it take effect. `gendef.load_clip` loads every clip.

        Raises:
            ClipError: a file is missing, damaged, hostile or of an unknown version.
        """

    def to_mp4(self, path: str | Path, size: tuple[int, int] | None = None) -> None:
        """Write the rendered video as H.264, at the given height and width; odd ones get one pixel more."""
        write_video(path, self.iter_pictures(size), self.fps, times=self.frame_times, enlarge=False)

    def to_gif(self, path: str | Path, size: tuple[int, int] | None = None) -> None:
        """Write the rendered video as an endless gif."""
        write_gif(path, self.iter_pictures(size), self.fps, self.frame_times)

    def export(self, path: str | Path, **options: Any) -> Any:
        """Write the clip as one HTML page that plays and can be painted on; see `gendef.visualization.html_export`.

        Args:
            options: of `write_html` there.
        """
        # The page is made of drawings, which lie above clips: looked up by name when it is asked for.
        return import_module("gendef.visualization.html_export").write_html(path, self, **options)


def _over(picture: Tensor, layer: Layer[Any], canonical: Tensor, frames: Sequence[int]) -> Tensor:
    """Frames of a layer over pictures (n, 3, H, W), which may be changed in place."""
    size = (picture.shape[2], picture.shape[3])
    if layer.alpha is None and isinstance(frames, range) and layer.start <= frames[0] and frames[-1] < layer.end:
        # A slice of a mapped field is read where it is used; a list of frames is copied.
        shown: Tensor = layer.video.warped(
            canonical, range(frames[0] - layer.start, frames[-1] + 1 - layer.start), size
        )
        return shown
    rows = [row for row, t in enumerate(frames) if layer.start <= t < layer.end]
    if not rows:
        return picture
    shown = layer.video.warped(canonical, [frames[row] - layer.start for row in rows], size)
    if layer.alpha is None:
        picture[rows] = shown
        return picture
    for row, image in zip(rows, shown, strict=True):
        # At weights 0 and 1 `lerp` gives its ends bit for bit.
        torch.lerp(picture[row], image, resized(layer.opacity(frames[row])[None], size), out=picture[row])
    return picture


def counted(chunks: Iterable[Tensor], on_frames: Callable[[int], None]) -> Iterator[Tensor]:
    """Chunks of frames (n, 3, H, W) as they come; `on_frames` is called with n after each was used."""
    for chunk in chunks:
        yield chunk
        on_frames(len(chunk))
