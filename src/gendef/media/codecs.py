"""Video codecs that gendef writes: encoder, pixel formats, containers, options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from gendef.errors import InputError

CodecName = Literal["h264", "hevc", "prores", "prores4444", "ffv1", "vp9"]


@dataclass(frozen=True)
class Codec:
    """One codec.

    Attributes:
        encoder: libav's name.
        suffixes: of the files that hold it; the first is usual.
        plain, deep: pixel formats for 8 and for more bits; equal where there is one only.
        alpha: pixel format with alpha; None where alpha cannot be kept.
        crf: default constant rate factor; None where quality is no option.
        options: for the encoder.
        audio: codecs of sound that its containers take without encoding again.
        audio_encoder: for sound that they do not take.
    """

    encoder: str
    suffixes: tuple[str, ...]
    plain: str
    deep: str
    alpha: str | None = None
    crf: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    audio: frozenset[str] = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
    audio_encoder: str = "aac"


_QUICKTIME = frozenset({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_s16be", "pcm_s24be"})
_MATROSKA = _QUICKTIME | {"opus", "vorbis", "flac", "eac3", "dts"}
_X265 = {"preset": "fast", "x265-params": "log-level=error"}
CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "h264": Codec(
            "libx264", (".mp4", ".mov", ".mkv", ".m4v"), "yuv420p", "yuv420p", None, 16, {"preset": "veryfast"}
        ),
        "hevc": Codec("libx265", (".mp4", ".mov", ".mkv"), "yuv420p", "yuv420p10le", None, 18, _X265),
        "prores": Codec("prores_ks", (".mov",), "yuv422p10le", "yuv422p10le", None, None, {"profile": "3"}, _QUICKTIME),
        "prores4444": Codec(
            "prores_ks", (".mov",), "yuv444p10le", "yuv444p10le", "yuva444p10le", None, {"profile": "4"}, _QUICKTIME
        ),
        "ffv1": Codec("ffv1", (".mkv",), "bgr0", "gbrp16le", "bgra", None, {"level": "3"}, _MATROSKA, "flac"),
        "vp9": Codec(
            "libvpx-vp9",
            (".webm", ".mkv"),
            "yuv420p",
            "yuv420p10le",
            "yuva420p",
            20,
            {"deadline": "good", "cpu-used": "4", "row-mt": "1", "b": "0"},
            frozenset({"opus", "vorbis"}),
            "libopus",
        ),
    }
)


def find_codec(name: str, path: Path) -> Codec:
    """The codec called `name`, for the file `path`.

    Raises:
        InputError: there is no such codec, or the file's suffix is of no container that takes it.
    """
    if name not in CODECS:
        raise InputError(f"codec must be one of {', '.join(get_args(CodecName))}, got {name!r}")
    codec = CODECS[name]
    if path.suffix.lower() not in codec.suffixes:
        raise InputError(f"{name} is written to {' or '.join(codec.suffixes)}, got {path.name}")
    return codec
