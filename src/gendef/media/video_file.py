"""Video files by libav: which stream is the film, what it holds, and its frames upright, progressive and with times."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendef.errors import DataError, GendefError, InputError
from gendef.media.colour import ColourTags, read_tags, sws_colorspace, tone_mapped
from gendef.media.zips import DEFAULT_FPS

MAX_FPS = 1000.0
"""Frame rates beyond this are mistakes of the container."""
SUBSAMPLED_8_BIT = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuv444p"})
"""Pixel formats that libswscale converts without interpolation four times as fast, to the same pixels."""


@dataclass(frozen=True)
class VideoFacts:
    """What a video stream holds.

    Attributes:
        width, height: of the frames as they are shown: upright, with square pixels.
        fps: average frames a second.
        fps_known: whether the file says a possible frame rate.
        frames: announced number of frames, 0 if unknown; not always true.
        tags: colours, unspecified ones filled in.
        bits: of a colour channel.
        alpha: whether pixels have alpha.
        interlaced: whether frames hold two fields.
        stream: index of the stream in the file.
        audio: whether the file has sound.
    """

    width: int
    height: int
    fps: float
    fps_known: bool
    frames: int
    tags: ColourTags
    bits: int
    alpha: bool
    interlaced: bool
    stream: int
    audio: bool

    @property
    def notes(self) -> list[str]:
        """What a user must know about how the file is read, one sentence each."""
        said = []
        if self.tags.hdr:
            said.append(f"the video is HDR ({self.tags.describe()}, {self.bits} bits); it is tone-mapped to SDR")
        if self.interlaced:
            said.append("the video is interlaced; it is deinterlaced")
        if not self.fps_known:
            said.append(
                f"the file states no possible frame rate; {self.fps:g} frames a second are used (--fps sets it)"
            )
        return said


@dataclass(frozen=True)
class DecodedFrame:
    """One frame: uint8 RGB (H, W, 3), alpha uint8 (H, W) or None, and its time in seconds from the first frame."""

    image: np.ndarray
    alpha: np.ndarray | None
    time: float


def choose_stream(container: Any, number: int | None = None) -> Any:
    """The video stream to read: number `number`, else the default one that is no cover picture.

    Raises:
        DataError: the file has no video stream.
        InputError: there is no stream `number`.
    """
    from av.stream import Disposition

    streams = list(container.streams.video)
    if not streams:
        raise DataError(f"{container.name} has no video stream")
    if number is not None:
        if not 0 <= number < len(streams):
            raise InputError(f"stream must be between 0 and {len(streams) - 1}, got {number}")
        return streams[number]
    films = [s for s in streams if not s.disposition & Disposition.attached_pic] or streams
    return next((s for s in films if s.disposition & Disposition.default), films[0])


def examine_video(path: str | Path, number: int | None = None) -> VideoFacts:
    """Read the facts of a video file; its first frame is decoded.

    Args:
        number: which video stream; default the film.

    Raises:
        DataError: the file cannot be decoded.
        InputError: there is no stream `number`.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = choose_stream(container, number)
            frame = next(_decoded(container, stream), None)
            if frame is None:
                raise DataError(f"{path} has no frame")
            return _facts(container, stream, frame)
    except GendefError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be decoded: {error}") from error


def _facts(container: Any, stream: Any, frame: Any) -> VideoFacts:
    import av

    rate = float(stream.average_rate or stream.guessed_rate or 0)
    known = 0 < rate <= MAX_FPS
    fps = rate if known else DEFAULT_FPS
    width, height = frame.width, frame.height
    aspect = _aspect(stream)
    width = max(1, round(width * aspect))
    if _turns(frame) % 2:
        width, height = height, width
    seconds = float((container.duration or 0) / av.time_base)
    return VideoFacts(
        width=width,
        height=height,
        fps=fps,
        fps_known=known,
        frames=stream.frames or (round(seconds * fps) if known else 0),
        tags=read_tags(frame).resolved(frame.height),
        bits=max(component.bits for component in frame.format.components),
        alpha=_has_alpha(frame),
        interlaced=bool(frame.interlaced_frame),
        stream=stream.index,
        audio=bool(container.streams.audio),
    )


def decode_video(path: str | Path, number: int | None = None, threads: int = 1) -> Iterator[DecodedFrame]:
    """Frames of a video file in order: SDR, upright, progressive, with square pixels.

    Args:
        number: which video stream; default the film.
        threads: of the decoder; 0 lets it choose.

    Raises:
        DataError: the file cannot be opened, or is damaged; frames before the damage have been given.
        InputError: there is no stream `number`.
    """
    import av

    first, count = None, 0
    try:
        with av.open(str(path)) as container:
            stream = choose_stream(container, number)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            rate = float(stream.average_rate or 0)
            fps = rate if 0 < rate <= MAX_FPS else DEFAULT_FPS
            converter: FrameConverter | None = None
            for frame in _progressive(_decoded(container, stream), stream):
                if frame.is_corrupt:
                    raise DataError(f"{path} is damaged at frame {count}")
                converter = converter or FrameConverter(read_tags(frame).resolved(frame.height), _aspect(stream))
                usable = frame.time is not None and (stream.average_rate or 0) <= MAX_FPS
                time = float(frame.time) if usable else count / fps
                first = time if first is None else first
                image, alpha = converter(frame)
                yield DecodedFrame(image, alpha, time - first)
                count += 1
    except GendefError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be decoded at frame {count}: {error}") from error


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames of a stream; VP8 and VP9 with alpha by libvpx, for libav's own decoders leave the alpha out."""
    import av

    if stream.metadata.get("alpha_mode") != "1" or stream.codec_context.name not in ("vp8", "vp9"):
        yield from container.decode(stream)
        return
    decoder: Any = av.CodecContext.create(f"libvpx-{stream.codec_context.name}".replace("libvpx-vp8", "libvpx"), "r")
    for packet in container.demux(stream):
        yield from decoder.decode(packet if packet.size else None)


def _progressive(frames: Iterator[Any], stream: Any) -> Iterator[Any]:
    """Decoded frames; interlaced ones become one progressive frame each, by libav's filter bwdif."""
    import av

    graph: Any = None
    for frame in frames:
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            graph = av.filter.Graph()
            source = graph.add_buffer(template=stream, time_base=stream.time_base)
            bwdif = graph.add("bwdif", "mode=send_frame:deint=all")
            sink = graph.add("buffersink")
            source.link_to(bwdif)
            bwdif.link_to(sink)
            graph.configure()
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _pulled(graph: Any) -> Iterator[Any]:
    """Frames that a filter graph has ready."""
    import av

    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


class FrameConverter:
    """Decoded frames to RGB with square pixels, turned the way their display matrix says (phones film sideways).

    Holds one scaler for all frames of a video: a new one a frame takes as long as decoding it.

    Args:
        tags: of the stream, resolved; HDR is tone-mapped.
        aspect: width of a pixel over its height.
    """

    def __init__(self, tags: ColourTags, aspect: float) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler, self._alpha_scaler = VideoReformatter(), VideoReformatter()
        self._tags, self._aspect = tags, aspect

    def __call__(self, frame: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """uint8 RGB (H, W, 3), and alpha uint8 (H, W) where the frame has it."""
        width = max(1, round(frame.width * self._aspect)) if self._aspect != 1 else None
        options: dict[str, Any] = {"width": width, "format": "rgb48le" if self._tags.hdr else "rgb24"}
        if "rgb" not in frame.format.name and "gbr" not in frame.format.name and frame.format.name != "pal8":
            options["src_colorspace"] = sws_colorspace(self._tags.matrix)
            options["src_color_range"] = 2 if self._tags.full_range else 1
        if width is None and frame.format.name in SUBSAMPLED_8_BIT:
            options["interpolation"] = "POINT"
        converted = self._scaler.reformat(frame, **options).to_ndarray()
        image = tone_mapped(converted, self._tags) if self._tags.hdr else converted
        alpha = None
        if _has_alpha(frame):
            alpha = self._alpha_scaler.reformat(frame, width=width, format="rgba").to_ndarray()[..., 3]
        turns = _turns(frame)
        return _turned(image, turns), None if alpha is None else _turned(alpha, turns)


def _turned(image: np.ndarray, turns: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _turns(frame: Any) -> int:
    """Quarter turns to the left that set a frame upright."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def _aspect(stream: Any) -> float:
    """Width of a pixel over its height; 1 where the file says nonsense."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.2 < aspect < 5 else 1.0


def _has_alpha(frame: Any) -> bool:
    """Whether a frame's pixel format has an alpha channel."""
    return bool(frame.format.has_palette) or any(component.is_alpha for component in frame.format.components)
