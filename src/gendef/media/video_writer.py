"""Writing videos, streamed frame by frame."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from gendef.errors import InputError
from gendef.media.audio import AudioCopier, Soundtrack, has_sound
from gendef.media.codecs import CodecName, find_codec
from gendef.media.colour import ColourTags, sws_colorspace, tags_for_output
from gendef.media.frame_times import TICKS, exact_rate
from gendef.runtime.atomic_file import replacing

MAX_WAITING = 16
"""Frames that may wait for their encoding."""
LAYOUTS = {(np.uint8, 3): "rgb24", (np.uint8, 4): "rgba", (np.uint16, 3): "rgb48le", (np.uint16, 4): "rgba64le"}
"""libav's names of the pictures that are taken, by type and channels."""


class VideoWriter:
    """A video file; frames are RGB or RGBA (H, W, 3 or 4), uint8 or uint16, all of one size.

    Odd sizes get one more row or column, which chroma subsampling needs. Frames are encoded in a thread of their own,
    while the caller computes the next; a few wait at most.

    Args:
        path: its suffix names the container.
        fps: frames a second.
        crf: constant rate factor, smaller is better; default near lossless.
        enlarge: repeat pixels of frames under 256 by a whole factor, for players do not show stamps well.
        codec: see `gendef.media.codecs`.
        tags: colours to write; default those that players expect of the size. Pixels are taken as of these primaries
            and transfer, and are converted to YUV by the matrix.
        sound: carried into the file.

    Raises:
        InputError: the frame rate or the codec is impossible.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        *,
        crf: int | None = None,
        enlarge: bool = True,
        codec: CodecName = "h264",
        tags: ColourTags | None = None,
        sound: Soundtrack | None = None,
    ) -> None:
        import av

        self._codec = find_codec(codec, path)
        self._rate, self._tags, self._sound = exact_rate(fps), tags, sound
        self._crf = self._codec.crf if crf is None else crf
        self._container = av.open(str(path), "w")
        self._enlarge = enlarge
        self._stream: Any = None
        self._scaler: Any = None
        self._audio: AudioCopier | None = None
        self._size: tuple[int, ...] = ()
        self._kind: Any = None
        self._count = 0
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        self._waiting: deque[Future[None]] = deque()

    def append(self, frame: np.ndarray, time: float | None = None) -> None:
        """Encode one more frame, which must not change afterwards.

        Args:
            time: at which it is shown, in seconds from the first; default by the frame rate. All frames or none.

        Raises:
            InputError: of another shape or type, or of another size than the frames before.
        """
        channels = frame.shape[2] if frame.ndim == 3 else 0
        if (frame.dtype.type, channels) not in LAYOUTS:
            raise InputError(f"a frame must be uint8 or uint16 (H, W, 3 or 4), got {frame.dtype} {frame.shape}")
        if self._size and (frame.shape, frame.dtype) != (self._size, self._kind):
            raise InputError(f"a frame of {frame.shape} follows frames of {self._size}: a video has one size")
        self._size, self._kind = frame.shape, frame.dtype
        if len(self._waiting) == MAX_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._worker.submit(self._encode, frame, time))

    def _encode(self, frame: np.ndarray, time: float | None) -> None:
        import av

        layout = LAYOUTS[(frame.dtype.type, frame.shape[2])]
        picture = _for_players(frame, self._enlarge)
        if self._stream is None:
            self._open(picture, time is not None)
        tags = self._tags or tags_for_output(picture.shape[0])
        source = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=layout)
        options: dict[str, Any] = {"format": self._stream.pix_fmt}
        if self._stream.pix_fmt.startswith("yuv"):
            options |= {"dst_colorspace": sws_colorspace(tags.matrix), "dst_color_range": 2 if tags.full_range else 1}
        encoded = self._scaler.reformat(source, **options)
        encoded.color_primaries, encoded.color_trc = tags.primaries, tags.transfer
        encoded.pts = self._count if time is None else round(time * TICKS)
        encoded.time_base = 1 / self._rate if time is None else Fraction(1, TICKS)
        if self._audio is not None:
            self._audio.advance(float(encoded.pts * encoded.time_base))
        for packet in self._stream.encode(encoded):
            self._container.mux(packet)
        self._count += 1

    def _open(self, picture: np.ndarray, timed: bool) -> None:
        from av.video.reformatter import VideoReformatter

        codec, deep = self._codec, picture.dtype == np.uint16
        self._stream = self._container.add_stream(codec.encoder, rate=self._rate)
        self._stream.height, self._stream.width = picture.shape[:2]
        alpha = codec.alpha if picture.shape[2] == 4 else None
        self._stream.pix_fmt = alpha or (codec.deep if deep else codec.plain)
        crf = {} if self._crf is None else {"crf": str(self._crf)}
        self._stream.options = {**codec.options, **crf}
        tags = self._tags or tags_for_output(picture.shape[0])
        context = self._stream.codec_context
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        if self._stream.pix_fmt.startswith("yuv"):
            context.colorspace, context.color_range = tags.matrix, 2 if tags.full_range else 1
        if timed:
            context.time_base = Fraction(1, TICKS)
        if codec.encoder == "libx265" and self._container.format.name.startswith(("mp4", "mov")):
            context.codec_tag = "hvc1"  # Apple's players want it
        self._scaler = VideoReformatter()
        if self._sound is not None and has_sound(self._sound.path):
            self._audio = AudioCopier(self._container, self._sound, codec.audio, codec.audio_encoder)

    def close(self) -> None:
        """Encode what waits, and close the file."""
        try:
            while self._waiting:
                self._waiting.popleft().result()
            if self._stream is not None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
            if self._audio is not None:
                self._audio.close()
        finally:
            self._worker.shutdown(cancel_futures=True)
            self._container.close()


def _for_players(frame: np.ndarray, enlarge: bool) -> np.ndarray:
    factor = math.ceil(256 / min(frame.shape[:2])) if enlarge else 1
    if factor > 1:
        frame = frame.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    times: Sequence[float] | None = None,
    crf: int | None = None,
    enlarge: bool = True,
    codec: CodecName = "h264",
    tags: ColourTags | None = None,
    sound: Soundtrack | None = None,
) -> None:
    """Write a video file from frames as they come; nothing half-written stays behind.

    Args:
        times: of the frames in seconds, as many as there are frames; None for the constant rate.
        crf, enlarge, codec, tags, sound: see `VideoWriter`.

    Raises:
        InputError: there is no frame, a frame is unfit, or the frame rate or codec impossible.
    """
    path = Path(path)
    with replacing(path) as temporary:
        writer = VideoWriter(temporary, fps, crf=crf, enlarge=enlarge, codec=codec, tags=tags, sound=sound)
        count = 0
        try:
            for frame in frames:
                writer.append(frame, None if times is None else times[count])
                count += 1
        finally:
            writer.close()
        if count == 0:
            raise InputError(f"no frames to write to {path}")
