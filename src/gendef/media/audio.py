"""Sound of a source video, cut to a range of time and carried into another file."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Soundtrack:
    """The sound of a file between two times.

    Attributes:
        path: the file.
        start, end: seconds from the file's first video frame.
    """

    path: Path
    start: float
    end: float


def has_sound(path: str | Path) -> bool:
    """Whether a file has an audio stream; False for what libav cannot open (a folder, a picture)."""
    import av

    try:
        with av.open(str(path)) as container:
            return bool(container.streams.audio)
    except (av.FFmpegError, OSError, ValueError):
        return False


class AudioCopier:
    """Brings a soundtrack into an open output container, in step with its video packets.

    Packets are copied where the container takes the codec; else the sound is encoded again.

    Args:
        container: opened for writing, to which nothing has been written yet.
        track: the sound.
        copied: codecs that are copied.
        encoder: for other codecs.
    """

    def __init__(self, container: Any, track: Soundtrack, copied: frozenset[str], encoder: str) -> None:
        import av

        self._out, self._track = container, track
        self._source: Any = av.open(str(track.path))
        self._stream: Any = self._source.streams.audio[0]
        video: Any = self._source.streams.video[0] if self._source.streams.video else None
        first = video.start_time * video.time_base if video is not None and video.start_time is not None else 0
        self._begin, self._end = float(first) + track.start, float(first) + track.end
        self._resampler: Any = None
        if self._stream.codec_context.name in copied:
            self._target = container.add_stream_from_template(self._stream)
            self._packets = self._copied()
        else:
            rate = 48000 if encoder == "libopus" else self._stream.codec_context.sample_rate
            self._target = container.add_stream(encoder, rate=rate)
            self._target.codec_context.layout = self._stream.codec_context.layout
            self._resampler = av.AudioResampler(
                format=self._target.codec_context.codec.audio_formats[0].name,
                layout=self._stream.codec_context.layout,
                rate=rate,
                frame_size=self._target.codec_context.frame_size or None,
            )
            self._packets = self._encoded()
        self._waiting: Any = next(self._packets, None)

    def advance(self, time: float) -> None:
        """Write packets up to a time, in seconds from the first frame that is written."""
        while self._waiting is not None and self._time(self._waiting) <= time:
            self._out.mux(self._waiting)
            self._waiting = next(self._packets, None)

    def close(self) -> None:
        """Write what is left, and close the source."""
        try:
            self.advance(float("inf"))
        finally:
            self._source.close()

    def _time(self, packet: Any) -> float:
        return float((packet.dts if packet.dts is not None else packet.pts or 0) * packet.time_base)

    def _seek(self) -> None:
        self._source.seek(max(int((self._begin - 1) * 1_000_000), 0))

    def _copied(self) -> Iterator[Any]:
        """Packets whose middle lies inside the range, moved to begin at 0."""
        self._seek()
        base = self._stream.time_base
        shift = round(Fraction(self._begin).limit_denominator(10**6) / base)
        for packet in self._source.demux(self._stream):
            if packet.pts is None:
                continue
            middle = float((packet.pts + (packet.duration or 0) / 2) * base)
            if middle < self._begin:
                continue
            if middle >= self._end:
                return
            packet.pts = max(packet.pts - shift, 0)
            packet.dts = packet.pts
            packet.stream = self._target
            yield packet

    def _encoded(self) -> Iterator[Any]:
        """The samples inside the range, encoded again."""
        self._seek()
        context = self._target.codec_context
        written = 0
        for frame in self._source.decode(self._stream):
            time = float(frame.time or 0)
            if time + frame.samples / frame.sample_rate <= self._begin:
                continue
            if time >= self._end:
                break
            frame.pts = None
            for resampled in self._resampler.resample(frame):
                written, packets = self._encode(context, resampled, written)
                yield from packets
        for resampled in self._resampler.resample(None):
            written, packets = self._encode(context, resampled, written)
            yield from packets
        yield from self._target.encode(None)

    def _encode(self, context: Any, frame: Any, written: int) -> tuple[int, list[Any]]:
        frame.pts = written
        frame.time_base = Fraction(1, context.sample_rate)
        return written + frame.samples, list(self._target.encode(frame))
