"""Writing clips in a stream."""

import hashlib
import json
import math
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from gendef.errors import InputError
from gendef.media.frame_times import checked_fps
from gendef.media.images import to_uint8
from gendef.media.video_writer import VideoWriter
from gendef.runtime.atomic_folder import replace_folder, temporary_beside
from gendef.video.clip_format import (
    CANONICAL,
    COORDINATES,
    FIELD,
    FORMAT,
    FORMAT_VERSION,
    ILLUMINATION,
    LARGE,
    META,
    PREVIEW,
    VISIBILITY,
    check_replaceable,
)


class ClipWriter:
    """Writes a clip folder frame by frame; memory does not grow with the number of frames.

    Use as a context manager. The folder appears when the block ends without an exception; otherwise nothing remains.

    Args:
        folder: the clip folder; an existing clip is replaced.
        canonical: (3, Hc, Wc) in [-1, 1].
        shape: (T, H, W) of the frames to come.
        visibility: (T, H, W) bool, where the canonical image explains the frames; None if that is not known.
        illumination: (T, h, w, 3), the light of each frame; None if it does not change. See `gendef.CanonicalVideo`.
        nodes: rows and columns of the field to come, where it has fewer than pixels. See `gendef.CanonicalVideo`.
    """

    def __init__(
        self,
        folder: str | Path,
        canonical: Tensor,
        shape: tuple[int, int, int],
        fps: float,
        info: dict[str, Any],
        report: dict[str, Any],
        visibility: Tensor | None = None,
        illumination: Tensor | None = None,
        nodes: tuple[int, int] | None = None,
    ) -> None:
        self.folder = Path(folder)
        check_replaceable(self.folder)
        self.canonical, self.shape, self.fps, self.info, self.report = canonical, shape, checked_fps(fps), info, report
        self.visibility, self.illumination, self.nodes = visibility, illumination, nodes
        self._video: VideoWriter | None = None
        self._written = 0

    def __enter__(self) -> "ClipWriter":
        self._temporary = temporary_beside(self.folder)
        pixels = to_uint8(self.canonical)
        Image.fromarray(pixels).save(self._temporary / CANONICAL, compress_level=1 if pixels.size > LARGE else 6)
        self._digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        self._file = open(self._temporary / FIELD, "wb")
        self._file.write(self._header())
        return self

    def _header(self) -> bytes:
        image_bytes = self.canonical.numel() * 4
        shape = [self.shape[0], *(self.nodes or self.shape[1:]), 2]
        field_bytes = math.prod(shape) * 4
        header = {
            "deformation": {"dtype": "F32", "shape": shape, "data_offsets": [0, field_bytes]},
            "canonical": {
                "dtype": "F32",
                "shape": list(self.canonical.shape),
                "data_offsets": [field_bytes, field_bytes + image_bytes],
            },
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text

    def append(self, deformation: Tensor, frames: Tensor | None) -> None:
        """Add fields (n, H, W, 2) and their rendered frames (n, 3, H, W); without frames there is no preview."""
        self._file.write(np.ascontiguousarray(deformation.detach().cpu().float().numpy(), "<f4").data)
        if frames is not None:
            self._video = self._video or VideoWriter(self._temporary / PREVIEW, self.fps)
            for frame in to_uint8(frames):
                self._video.append(frame)
        self._written += len(deformation)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if self._video is not None:
                self._video.close()
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _finish(self) -> None:
        if self._written != self.shape[0]:
            raise InputError(f"{self._written} frames were written, {self.shape[0]} expected")
        self._file.write(np.ascontiguousarray(self.canonical.detach().cpu().float().numpy(), "<f4").data)
        self._file.flush()
        self._file.close()
        if self.visibility is not None:
            save_file({"visibility": pack_visibility(self.visibility)}, self._temporary / VISIBILITY)
        if self.illumination is not None:
            save_file({"illumination": self.illumination.contiguous()}, self._temporary / ILLUMINATION)
        meta = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "frames": self.shape[0],
            "height": self.shape[1],
            "width": self.shape[2],
            "canonical_height": self.canonical.shape[1],
            "canonical_width": self.canonical.shape[2],
            "canonical_sha256": self._digest,
            "fps": self.fps,
            "coordinates": COORDINATES,
            "illumination": None if self.illumination is None else list(self.illumination.shape[1:3]),
            "made": self.info,
            "report": self.report,
        }
        if self.nodes is not None:
            meta["nodes"] = list(self.nodes)
        (self._temporary / META).write_text(json.dumps(meta, indent=1))
        replace_folder(self._temporary, self.folder)


def write_clip(
    folder: str | Path,
    canonical: Tensor,
    shape: tuple[int, int, int],
    chunks: Iterable[tuple[Tensor, Tensor | None]],
    fps: float,
    info: dict[str, Any],
    report: dict[str, Any],
    visibility: Tensor | None = None,
    illumination: Tensor | None = None,
    nodes: tuple[int, int] | None = None,
) -> None:
    """Write a clip folder from chunks of fields (n, H, W, 2) and rendered frames (n, 3, H, W); see `ClipWriter`."""
    with ClipWriter(folder, canonical, shape, fps, info, report, visibility, illumination, nodes) as writer:
        for deformation, frames in chunks:
            writer.append(deformation, frames)


def pack_visibility(visibility: Tensor) -> Tensor:
    """(T, H, W) bool -> uint8 (T, bytes), one bit a pixel, row by row."""
    return torch.from_numpy(np.packbits(visibility.cpu().numpy().reshape(len(visibility), -1), axis=1))
