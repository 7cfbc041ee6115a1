"""What `gendef edit` writes: the edit over the original footage where it is at hand, else the clip's rendering."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gendef.cli.edit_arguments import Arguments
from gendef.editing.filters import FILTERS, parse_filter
from gendef.editing.over_source import composited, layer_frames, pointwise
from gendef.errors import InputError
from gendef.media.animated_pictures import write_gif
from gendef.media.codecs import CODECS
from gendef.media.images import resized
from gendef.media.source_frames import SourceFrames, open_source
from gendef.media.video_writer import write_video
from gendef.video.base import Video

_log = logging.getLogger(__name__)
POINTWISE = frozenset({"grey", "sepia", "posterise", "hue"})
"""Filters that look at single pixels: they are applied to the source itself."""
MAX_SIDE = 8192
"""Pixels of the longer side up to which canonical images are enlarged."""
PAINTING = ("canonical", "style", "prompt", "overlay", "overlay_frame")
"""Options whose result covers the source; a filter alone is applied as a difference."""


def find_source(clip: Video, arguments: Arguments) -> SourceFrames | None:
    """The original footage that the edit lies over; None for the rendering.

    Raises:
        InputError: options do not go together, or the source cannot be used.
    """
    if arguments.layer_only and CODECS[arguments.codec].alpha is None:
        raise InputError(f"--layer-only needs transparency: --codec prores4444, ffv1 or vp9, not {arguments.codec}")
    if arguments.rendered and arguments.source is not None:
        raise InputError("--rendered writes the rendering, --source the edit over the footage: give one of them")
    source = None if arguments.rendered else open_source(clip.info, arguments.source)
    if source is None and not arguments.rendered and "footage" in clip.info:
        _log.warning(
            "the footage %s is not where it was: the rendering is written (--source FILE names the footage)",
            clip.info["footage"].get("path"),
        )
    return source


def at_detail_of(clip: Video, source: SourceFrames) -> Video:
    """The clip with canonical images enlarged to the detail of its source, so that drawings are as sharp."""
    factor = min(source.size[0] / clip.size[0], source.size[1] / clip.size[1])
    result = clip
    for number, (_, image) in enumerate(clip.canonical_images):
        side = max(image.shape[1:])
        scale = min(factor, MAX_SIDE / side)
        if scale > 1:
            size = (round(image.shape[1] * scale), round(image.shape[2] * scale))
            result = result.with_canonical(resized(image, size), number)
    return result


@dataclass(frozen=True)
class EditedVideo:
    """How the edited video is made.

    Attributes:
        before, after: the clip without and with the edit.
        source: the original footage; None for the rendering.
        size: height and width of the video.
    """

    before: Video
    after: Video
    arguments: Arguments
    source: SourceFrames | None
    size: tuple[int, int]

    @property
    def file_name(self) -> str:
        """Of the video."""
        return f"edited{CODECS[self.arguments.codec].suffixes[0]}"

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, uint8 (H, W, 3), or (H, W, 4) for the edit alone."""
        if self.arguments.layer_only:
            return layer_frames(self.before, self.after, self.size)
        if self.source is None:
            return self.after.iter_pictures(self.size)
        pictures = self.source.pictures(self.size)
        if not any(getattr(self.arguments, name) is not None for name in PAINTING):
            name = str(self.arguments.filter).partition(":")[0]
            if name in POINTWISE and name in FILTERS and self.arguments.mask is None and len(self.before.layers) == 1:
                return pointwise(parse_filter(str(self.arguments.filter)), pictures)
            return composited(self.before, self.after, pictures, self.size, "difference")
        return composited(self.before, self.after, pictures, self.size)

    def write(self, folder: Path, frames: Iterator[np.ndarray]) -> None:
        """Write the video, with times, colours and sound of the source; and the gif if one is wanted."""
        source, times = self.source, self.after.frame_times
        if source is not None and source.times is not None:
            times = list(source.times)
        write_video(
            folder / self.file_name,
            frames,
            self.after.fps,
            times=times,
            crf=self.arguments.crf,
            enlarge=source is None and not self.arguments.layer_only,
            codec=self.arguments.codec,
            tags=None if source is None else source.tags,
            sound=None if source is None or self.arguments.no_audio else source.sound,
        )
        if self.arguments.gif:
            write_gif(folder / "edited.gif", self.frames(), self.after.fps, times)
