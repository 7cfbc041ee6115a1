"""The representation of GenDeF: one canonical image and a deformation field."""

from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import jacobian_determinant, resize_field, warp
from gendef.media.frame_times import checked_fps
from gendef.media.images import over, resized, to_image_tensor
from gendef.video.base import CHUNK_PIXELS, Video, counted
from gendef.video.clip_reader import read_clip
from gendef.video.clip_writer import write_clip
from gendef.video.illumination import checked_illumination, lit
from gendef.video.label_transfer import canonical_labels, segment
from gendef.video.layer import Layer
from gendef.video.point_tracks import Tracks, track


class CanonicalVideo(Video):
    """A video as one canonical image and a deformation field.

    Args:
        canonical: the image that holds all content: a PIL image, a uint8 array (H, W, 3), or a floating array or tensor
            (3, H, W) in [-1, 1]; of any size. Alpha is ignored.
        deformation: (T, H, W, 2), for each output pixel the offset to its place in the canonical image, in normalised
            units (x then y; the image spans -1 to 1). Zero shows the canonical image itself.
        fps: frames a second.
        size: height and width of the frames; default the field's. Where it is larger, `deformation` holds the nodes of
            a smooth field: evenly spaced from the first pixel's centre to the last's along each side, with bilinear
            interpolation between them. Clips of large pictures stay small that way.
        info: how the clip was made; plain values, saved with it.
        report: what a fit reached (PSNR and so on).
        visibility: (T, H, W) bool, where the canonical image explains the frames that were fitted; None if unknown.
        illumination: (T, h, w, 3), the light of each frame on a coarse grid, per colour, as a relative change of
            brightness, at least -1: brightness, 0 for black, is multiplied by 1 + illumination. The values lie at the
            centres of the grid's cells and are interpolated bilinearly. None: the light does not change.

    Raises:
        InputError: a shape, type or value cannot be used.
    """

    def __init__(
        self,
        canonical: Any,
        deformation: Any,
        fps: float = 25.0,
        *,
        size: tuple[int, int] | None = None,
        info: dict[str, Any] | None = None,
        report: dict[str, Any] | None = None,
        visibility: Any = None,
        illumination: Any = None,
    ) -> None:
        self.canonical = to_image_tensor(canonical)
        field = deformation if isinstance(deformation, Tensor) else torch.from_numpy(np.asarray(deformation))
        if field.ndim != 4 or field.shape[-1] != 2 or min(field.shape) < 1 or not field.is_floating_point():
            raise InputError(
                f"a deformation field must be floating (T, H, W, 2), got {field.dtype} {tuple(field.shape)}"
            )
        self.nodes = field.detach().float().cpu()
        step = max(CHUNK_PIXELS // (field.shape[1] * field.shape[2]), 1)
        if not all(bool(torch.isfinite(part).all()) for part in self.nodes.split(step)):
            raise InputError("the deformation field holds values that are not finite")
        self._size = (field.shape[1], field.shape[2])
        if size is not None:
            self._size = self._checked_size(size)
            if self._size[0] < field.shape[1] or self._size[1] < field.shape[2]:
                raise InputError(
                    f"a field of {tuple(field.shape[1:3])} nodes is finer than frames of {self._size}: give fewer nodes"
                )
        self.fps = checked_fps(fps)
        self.info = dict(info or {})
        self.report = dict(report or {})
        self.visibility = checked_visibility(visibility, (self.num_frames, *self.size))
        self.illumination = checked_illumination(illumination, (self.num_frames, *self.size))

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return self.nodes.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self._size

    @cached_property
    def deformation(self) -> Tensor:
        """(T, H, W, 2), the field at every pixel; computed on first use where it is stored as nodes."""
        return self.fields(range(self.num_frames))

    def fields(self, frames: Sequence[int]) -> Tensor:
        """The field of some frames at every pixel, (n, H, W, 2)."""
        # A slice of the mapped field is read where it is used; a list of frames is copied.
        if isinstance(frames, range) and frames.step == 1:
            nodes = self.nodes[frames.start : frames.stop]
        else:
            nodes = self.nodes[list(frames)]
        return nodes if nodes.shape[1:3] == self.size else between_nodes(nodes, self.size)

    def __repr__(self) -> str:
        (height, width), (tall, wide) = self.size, self.canonical.shape[1:]
        return (
            f"CanonicalVideo({self.num_frames} frames of {width}x{height}, canonical {wide}x{tall}, {self.fps:g} fps)"
        )

    @property
    def layers(self) -> tuple[Layer["CanonicalVideo"]]:
        """The video itself, as the only layer."""
        return (Layer(self),)

    @property
    def canonical_images(self) -> list[tuple[str, Tensor]]:
        """A title and the canonical image (3, h, w)."""
        return [("canonical image", self.canonical)]

    @property
    def canonical_size(self) -> tuple[int, int]:
        """Height and width of the canonical image."""
        return self.canonical.shape[1], self.canonical.shape[2]

    def warped(self, canonical: Tensor, frames: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Frames (n, 3, H, W) of `size` that show a canonical image (3, h, w), such as `filtered_canonical(size)`, in
        the light of the illumination."""
        coarse = self.nodes.shape[1:3] != self.size
        if coarse and canonical.shape[1:] == size == self.size and not bool(self.nodes[list(frames)].any()):
            shown = canonical.expand(len(frames), -1, -1, -1).clone()
        else:
            shown = _warped(canonical, resize_field(self.fields(frames), size))
        return shown if self.illumination is None else lit(shown, self.illumination[list(frames)])

    def filtered_canonical(self, size: tuple[int, int]) -> Tensor:
        """The canonical image, reduced where output pixels lie more than one of its pixels apart (no aliasing).

        An image with no more pixels than the output is unchanged, so that frames at the field's own size equal those of
        the generator or the fit.
        """
        tall, wide = self.canonical.shape[1:]
        if tall * wide <= size[0] * size[1] or min(self.size) < 2:
            return self.canonical
        few = range(0, self.num_frames, max(self.num_frames // 4, 1))
        area = float(jacobian_determinant(self.fields(few)).abs().median())
        step = (area * tall * wide / (size[0] * size[1])) ** 0.5
        if step < 1.25:
            return self.canonical
        return resized(self.canonical, (max(round(tall / step), 1), max(round(wide / step), 1)))

    def with_layer(self, number: int, video: Any) -> "CanonicalVideo":
        """Another video of the same frames; see `Video.with_layer`."""
        self.checked_layer(number)
        if (video.num_frames, video.size) != (self.num_frames, self.size):
            raise InputError(f"the clip is {self}, and {video} does not fit in its place")
        other: CanonicalVideo = video
        return other

    def with_canonical(self, image: Any, layer: int = 0) -> "CanonicalVideo":
        """The same motion with another canonical image, of any size; where it is transparent, the present one shows.

        The illumination stays, so that it applies to the edit too.

        Args:
            image: as for the constructor. A picture with alpha that is smaller than the canonical image is enlarged to
                its size, so that nothing is lost around the edit.
            layer: 0, the only one.
        """
        self.checked_layer(layer)
        edited = self._copy()
        edited.canonical = over(self.canonical, image)
        return edited

    def without_illumination(self) -> "CanonicalVideo":
        """The same video, in the light of the canonical image throughout."""
        plain = self._copy()
        plain.illumination = None
        return plain

    def _copy(self) -> "CanonicalVideo":
        """The same video; the field is shared, and need not be checked again."""
        same = copy(self)
        same.info, same.report = dict(self.info), dict(self.report)
        return same

    def track(self, points: Any, frame: int | None = None, layer: int = 0) -> Tracks:
        """Track points (x, y) in pixels through the video; see `Video.track` and `gendef.video.point_tracks`."""
        self.checked_layer(layer)
        return track(self.deformation, points, self.canonical_size, frame, self.visibility)

    def segment(self, mask: Any, frame: int | None = None, layer: int = 0) -> Tensor:
        """Propagate a mask or label map to all frames; see `Video.segment` and `gendef.video.label_transfer`."""
        self.checked_layer(layer)
        return segment(self.deformation, mask, self.canonical_size, frame)

    def canonical_labels(self, mask: Any, frame: int | None = None, layer: int = 0) -> list[Tensor]:
        """A mask or label map on the canonical image: a list with one (Hc, Wc); see `Video.canonical_labels`."""
        self.checked_layer(layer)
        return [canonical_labels(self.deformation, mask, self.canonical_size, frame)]

    def save(
        self, folder: str | Path, *, preview: bool = True, on_frames: Callable[[int], None] = lambda count: None
    ) -> None:
        """Write the clip as a folder (docs/format.md); an existing clip there is replaced at the end.

        Args:
            folder: where to.
            preview: write the rendered video too.
            on_frames: called with the number of frames after each chunk that was rendered.
        """
        step = max(CHUNK_PIXELS // (self.size[0] * self.size[1]), 1)
        fields = (self.nodes[start : start + step] for start in range(0, self.num_frames, step))
        rendered = counted(self.iter_frames(), on_frames)
        chunks = zip(fields, rendered, strict=True) if preview else ((field, None) for field in fields)
        write_clip(
            folder,
            self.canonical,
            (self.num_frames, *self.size),
            chunks,
            self.fps,
            self.info,
            self.report,
            self.visibility,
            self.illumination,
            None if self.nodes.shape[1:3] == self.size else (self.nodes.shape[1], self.nodes.shape[2]),
        )

    @classmethod
    def load(cls, folder: str | Path) -> "CanonicalVideo":
        """A saved clip; an edited canonical.png takes effect, and the field is mapped from disk.

        Raises:
            ClipError: a file is missing, damaged, hostile or of an unknown version.
        """
        stored = read_clip(folder)
        size = stored.size
        clip = cls(stored.canonical, stored.nodes[:1], stored.fps, size=size, info=stored.info, report=stored.report)
        # The rest has been checked too, and checking it here would read the whole mapping into memory.
        clip.nodes, clip.visibility, clip.illumination = stored.nodes, stored.visibility, stored.illumination
        return clip


def checked_visibility(visibility: Any, shape: Sequence[int]) -> Tensor | None:
    """Visibility as a bool tensor of `shape` (T, H, W); None stays None.

    Raises:
        InputError: of another type or shape.
    """
    if visibility is None:
        return None
    value = visibility.detach().cpu() if isinstance(visibility, Tensor) else torch.from_numpy(np.asarray(visibility))
    if value.dtype != torch.bool or tuple(value.shape) != tuple(shape):
        raise InputError(
            f"visibility must be bool {tuple(shape)} like the field, got {value.dtype} {tuple(value.shape)}"
        )
    return value


def between_nodes(nodes: Tensor, size: Sequence[int]) -> Tensor:
    """Offsets at evenly spaced nodes (T, h, w, 2), the outer ones at the outer pixels' centres -> (T, H, W, 2)."""
    if nodes.shape[1:3] == (1, 1):
        return nodes.expand(-1, size[0], size[1], -1)
    moved = F.interpolate(nodes.movedim(-1, 1), (size[0], size[1]), mode="bilinear", align_corners=True)
    return moved.movedim(1, -1)


def _warped(canonical: Tensor, field: Tensor) -> Tensor:
    """Frames (T, 3, H, W); where an offset is zero and the sizes agree, the canonical pixel bit for bit.

    Sampling at a pixel centre is exact only to the rounding of normalised coordinates, which shows at sizes that are no
    power of two.
    """
    frames = warp(canonical[None], field[None])[0]
    if canonical.shape[1:] != field.shape[1:3]:
        return frames
    still = (field == 0).all(dim=-1)
    return torch.where(still[:, None], canonical, frames) if still.any() else frames
