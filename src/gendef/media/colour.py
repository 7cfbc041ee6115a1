"""Colour tags of video streams, their conversion to RGB, and tone mapping of HDR to SDR.

Tags are code points of ITU-T H.273: colour primaries, transfer characteristics, matrix coefficients and range. A file
that leaves them out is read as players read it: BT.709 from 720 lines on, BT.601 below.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

UNSPECIFIED = 2
BT709, BT601, BT2020 = 1, 6, 9
"""Code points of the matrix; the same numbers name the primaries."""
PQ, HLG = 16, 18
"""Code points of the HDR transfer characteristics (SMPTE ST 2084, ARIB STD-B67)."""
BT2020_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
"""Linear RGB of BT.2020 primaries to BT.709 primaries (ITU-R BT.2087-0)."""
SDR_WHITE = 100.0
"""Luminance in cd/m2 that becomes SDR white (the nominal peak of BT.1886)."""
KNEE = 0.8
"""Linear light, of SDR white, from which tone mapping compresses; what is darker keeps its value."""
NAMES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", PQ: "PQ", HLG: "HLG"}


@dataclass(frozen=True)
class ColourTags:
    """How a stream stores colours.

    Attributes:
        primaries, transfer, matrix: H.273 code points, 2 where the file does not say.
        full_range: whether 0 and the largest value are black and white; else 16 and 235 (of 8 bits) are.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool = False

    @property
    def hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.transfer in (PQ, HLG)

    def resolved(self, height: int) -> "ColourTags":
        """The tags with unspecified ones filled in from the number of lines."""
        usual = BT709 if height >= 720 else BT601
        matrix = usual if self.matrix == UNSPECIFIED else self.matrix
        primaries = matrix if self.primaries == UNSPECIFIED else self.primaries
        transfer = self.transfer
        if transfer == UNSPECIFIED:
            transfer = 14 if matrix == BT2020 else BT709 if matrix == BT709 else BT601
        return replace(self, primaries=primaries, transfer=transfer, matrix=matrix)

    def describe(self) -> str:
        """Such as "BT.2020 HLG"."""
        parts = [NAMES.get(self.matrix, "")] + ([NAMES[self.transfer]] if self.hdr else [])
        return " ".join(part for part in parts if part)


SDR_SMALL = ColourTags(BT601, BT601, BT601)
SDR_LARGE = ColourTags(BT709, BT709, BT709)


def tags_for_output(height: int) -> ColourTags:
    """The tags of an SDR video that is written without a source to follow: what an untagged file is read as."""
    return SDR_LARGE if height >= 720 else SDR_SMALL


def sws_colorspace(matrix: int) -> int:
    """The matrix as libswscale numbers it, for `VideoReformatter.reformat`."""
    from av.video.reformatter import Colorspace

    known = {BT709: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, BT2020: Colorspace.BT2020}
    return int(known.get(matrix, Colorspace.ITU601))


def read_tags(frame: Any) -> ColourTags:
    """The tags of a decoded `av.VideoFrame`."""
    full = int(frame.color_range) == 2 or str(frame.format.name).startswith("yuvj")
    return ColourTags(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace), full)


def tone_mapped(rgb: np.ndarray, tags: ColourTags) -> np.ndarray:
    """HDR pictures as SDR with BT.709 primaries and transfer.

    PQ is display light up to 10 000 cd/m2 (ST 2084); HLG is scene light, whose SDR white lies where a display of
    1 000 cd/m2 shows `SDR_WHITE` (BT.2100, system gamma 1.2). Linear light is converted to BT.709 primaries; above
    `KNEE` it approaches white along a Möbius curve, so that highlights keep detail.

    Args:
        rgb: uint16 (H, W, 3), 0 to 65535.
        tags: with `hdr` true.

    Returns:
        uint8 (H, W, 3).
    """
    signal = rgb.astype(np.float32) / 65535
    if tags.transfer == PQ:
        light, peak = _pq_to_light(signal) / SDR_WHITE, 10000 / SDR_WHITE
    else:
        white = (SDR_WHITE / 1000) ** (1 / 1.2)
        light, peak = _hlg_to_light(signal) / white, 1 / white
    if tags.primaries in (BT2020, UNSPECIFIED):
        light = light @ BT2020_TO_BT709.T
    light = _compressed(np.maximum(light, 0), peak)
    encoded = np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)
    return np.asarray((encoded * 255).round().clip(0, 255), np.uint8)


def _hlg_to_light(signal: np.ndarray) -> np.ndarray:
    """Scene light in [0, 1] of an HLG signal in [0, 1] (BT.2100, table 5, inverse OETF)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def _pq_to_light(signal: np.ndarray) -> np.ndarray:
    """Display light in cd/m2 of a PQ signal in [0, 1] (BT.2100, table 4, EOTF)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = np.maximum(signal, 0) ** (1 / m2)
    return np.asarray(10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def _compressed(light: np.ndarray, peak: float) -> np.ndarray:
    """Light in units of SDR white, brought into [0, 1]: unchanged up to `KNEE`, `peak` becomes 1, smooth between.

    The Möbius curve (a x + b) / (x + c) with value `KNEE` and slope 1 at `KNEE`, and value 1 at `peak`.
    """
    rest, span = 1 - KNEE, peak - KNEE
    # With y = KNEE + s x / (s + x) for x = light - KNEE: slope 1 at 0, and s chosen so that x = span gives `rest`.
    s = rest * span / (span - rest)
    x = np.maximum(light - KNEE, 0)
    return np.minimum(np.where(light <= KNEE, light, KNEE + s * x / (s + x)), 1)
