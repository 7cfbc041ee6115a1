"""Options of the measures of `gendef eval` that compare two sets of clips."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

if TYPE_CHECKING:
    from gendef.evaluation.sampling import Sampling

FVD = """FVD and, beside it, the unbiased kernel distance KVD, by the protocol of StyleGAN-V: one clip a video.

example: gendef eval fvd sky sky_test64.zip --count 256 --seeds 0-2

example: gendef eval fvd my_videos/ real.zip --frames 16 --stride 8 --detector-weights i3d-kinetics-400.ckpt"""

FID = """Frechet and kernel distance of single frames, on EfficientNet-Lite0 features unless --detector names another.
It is no FID: that needs the Inception network, which can be plugged in (docs/metrics.md).

example: gendef eval fid sky sky_test64.zip --count 512"""

MOTION = """How far the motion of two sets of videos is apart: Wasserstein distances of the speed, direction and
acceleration of their optical flow (OpenCV's DIS), in percent of the frame's side a frame and in degrees; and of each
side how far its content gets over a clip, how straight, and how much of its distance from the first frame a clip loses
again (return). No network, no weights.

example: gendef eval motion sky sky_test64.zip --count 64 --clips-per-video 16

example: gendef eval motion sky sky_test64.zip --count 16 --frames 129"""

PROTOCOL = """Print the commands that would reproduce a row of the paper's Table 1 from the original data on a machine
with 8 GPUs, and the paper's numbers.

example: gendef eval protocol sky256"""

Flag = tyro.conf.FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class Protocol:
    """Options of `protocol`."""

    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
    """sky256, taichi256 or ytb256."""
    common: CommonOptions = COMMON


@dataclass(frozen=True)
class Comparison:
    """The two sides, and the clips that are drawn from them."""

    fake: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAKE")]
    """Data archive, folder of videos, saved clips, video file, or model."""
    real: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REAL")]
    """The other side, of the same kinds."""
    frames: int = 16
    """Frames per clip."""
    stride: int = 1
    """Take every stride-th frame."""
    clips_per_video: int = 1
    """Clips from each video; 0 takes all that fit without overlap."""
    count: int = 2048
    """Largest number of clips of each side; a model generates exactly this number."""
    seeds: str = "0"
    """Seeds, such as 0-4: measure other clips with each, and report mean and spread."""
    size: int | None = None
    """First resize the frames of both sides to squares of this side, in pixels."""
    fit: Literal["crop", "stretch"] = "crop"
    """How frames that are not square become square."""
    truncation: float = 1.0
    """Truncation of a model's videos."""
    start: Literal["random", "zero"] = "random"
    """First time of a model's clips: drawn from the 1024 frames of training, or 0."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    out: Path | None = None
    """Also write the report, as JSON, to this file."""
    json: Flag = False
    """Print the report as JSON."""
    common: CommonOptions = COMMON

    def sampling(self) -> "Sampling":
        """The clips to draw."""
        from gendef.evaluation.sampling import Sampling

        return Sampling(
            frames=self.frames,
            stride=self.stride,
            clips_per_video=self.clips_per_video,
            count=self.count,
            size=self.size,
            fit=self.fit,
            truncation=self.truncation,
            start=self.start,
        )


@dataclass(frozen=True)
class Distance(Comparison):
    """Options of distances of features."""

    detector: str = "i3d"
    """Feature network: a registered name, or module:name of your own."""
    detector_weights: Path | None = None
    """File of its weights, or the folder to look in; default the folder GENDEF_WEIGHTS."""
    batch_size: int = 4
    """Clips in a batch of the detector."""
    cache: Path | None = None
    """Folder of computed features; default ~/.cache/gendef/features."""
    no_cache: Flag = False
    """Neither read nor write computed features."""


@dataclass(frozen=True)
class Frames(Distance):
    """Options of distances of single frames."""

    frames: int = 1
    """Frames per clip."""
    clips_per_video: int = 0
    """Clips from each video; 0 takes all that fit without overlap."""
    detector: str = "efficientnet-lite0"
    """Feature network: a registered name, or module:name of your own."""
    batch_size: int = 16
    """Clips in a batch of the detector."""
