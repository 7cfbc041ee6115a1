"""Arguments of the measures of `gendef eval` of one video, or of one video and its ground truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gendef.cli.common import COMMON, CommonOptions

TEMPORAL = """How a video holds together: warping error over pixels that neighbouring frames share, speed of its optical
flow, for a saved clip the share of its fields (of all layers) that folds, and for an edited video how steady the edit
is.

example: gendef eval temporal videos/seed0003

example: gendef eval temporal my_video.mp4 --edited my_video_as_painting.mp4"""


RECONSTRUCTION = """How near a video is to another, frame by frame: PSNR, SSIM and, with its weights, LPIPS.

example: gendef eval reconstruction fitted_clip/ my_video.mp4 --lpips-weights alexnet.ckpt"""


TRACKING = """TAP-Vid measures of tracks: average Jaccard, position accuracy and occlusion accuracy.

Both files are .npz with positions (N, T, 2), pixels, and visible (N, T); size (height, width) in a file says what
frames its pixels are of. Either may hold query_frames (N,), and the prediction points (M,), the numbers of the true
points its tracks belong to.

example: gendef eval tracking tracks.npz truth.npz --query-frame 0"""


SEGMENTATION = """DAVIS measures of masks: J (region), F (contour), their mean, recall and decay.

Both are folders of PNG files, one for each frame: black and white, or labels as grey values or indices of a palette.

example: gendef eval segmentation segments/masks truth/ --skip-ends"""


Flag = tyro.conf.FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class Temporal:
    """Options of `temporal`."""

    video: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Video file, folder of frames, or saved clip."""
    edited: Path | None = None
    """The same video after an edit; measured along the motion of VIDEO."""
    json: Flag = False
    """Print the report as JSON."""
    common: CommonOptions = COMMON


@dataclass(frozen=True)
class Reconstruction:
    """Options of `reconstruction`."""

    video: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Video file, folder of frames, or saved clip."""
    truth: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TRUTH")]
    """Ground truth of the same length; another size is resized to that of VIDEO."""
    lpips_weights: Path | None = None
    """Weights of LPIPS, or the folder to look in; without them LPIPS is left out."""
    json: Flag = False
    """Print the report as JSON."""
    common: CommonOptions = COMMON


@dataclass(frozen=True)
class Tracking:
    """Options of `tracking`."""

    tracks: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TRACKS")]
    """Predicted tracks, .npz."""
    truth: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TRUTH")]
    """True tracks, .npz."""
    mode: Literal["first", "strided"] = "first"
    """first: score the frames after the query frame; strided: all but the query frame."""
    query_frame: int | None = None
    """Query frame of all points; default that in the files, or the first frame that shows a point."""
    size: tuple[int, int] | None = None
    """Height and width of the frames of the true tracks; distances are counted in frames of 256x256."""
    json: Flag = False
    """Print the report as JSON."""
    common: CommonOptions = COMMON


@dataclass(frozen=True)
class Segmentation:
    """Options of `segmentation`."""

    masks: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MASKS")]
    """Predicted masks, a folder of PNG files."""
    truth: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TRUTH")]
    """True masks, the same."""
    skip_ends: Flag = False
    """Leave out the first and the last frame, as DAVIS does for methods that are given the first mask."""
    json: Flag = False
    """Print the report as JSON."""
    common: CommonOptions = COMMON
