"""Tracking and segmenting real clips with ground truth, through a field made from optical flow or fitted.

    python benchmarks/real_clips.py [--data ../shared/data] [--clips bear tennis ...] [--features]
        [--fit FOLDER] [--layers auto|mask] [--json]

The clips lie in DATA/clips_gt: bear (joints of BADJA, TAP-Vid's measures) and tennis, bmx-trees, schoolgirls, parkour
(masks of DAVIS, J and F; the first frame's mask is given, it and the last frame are not scored). Several ways are
compared:

- still: a field of zeros, the content stays where it is in the frame that is given;
- flow: the given frame is the canonical image, and dense optical flow (OpenCV's DIS), chained from frame to frame, the
  field; a pixel is visible while the flow there and back agrees;
- fit (with --fit): `gendef.fit_video`, with --layers auto or mask in layers; fits are kept in that folder, and used
  again when they are there, with or without layers, whichever command made them. `mask` takes the first frame's mask,
  carried through the frames as below, for the layer before the background;
- moving (clips of one object): no mask is given; what moves of itself, as `gendef fit --layers auto` finds it;
- features (with --features): no field; labels follow features that look alike, as `gendef segment VIDEO`, and points
  flow, features and texture, as `gendef track VIDEO`.

Fields are made, and points followed by features, at --size pixels, masks by features at 480; all are scored at the
size of the ground truth.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef import CanonicalVideo, fit_video, load_clip
from gendef.correspondence.mask_propagation import propagate_mask
from gendef.correspondence.point_tracking import FollowedPoints, follow_points
from gendef.fitting.motion_segmentation import segment_moving_objects
from gendef.geometry import identity_grid, to_normalised
from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import sample
from gendef.media.footage import read_footage
from gendef.metrics.davis import davis
from gendef.metrics.tapvid import queries_first, tap_vid
from gendef.optical_flow.dis import dis_flow
from gendef.optical_flow.pairwise_flow import (
    Flows,
    compute_flows,
)
from gendef.video.label_transfer import resized_labels
from gendef.video.layered_video import LayeredVideo
from gendef.video.point_tracks import Tracks
from gendef.visualization.segment_files import write_labels

MASKED = ("tennis", "bmx-trees", "schoolgirls", "parkour")
MASK_SIZE = 480
"""Shorter side of masks that are carried by features, in pixels."""
TRUSTED = 0.5
"""Agreement of the flow there and back from which on a pixel counts as visible."""

Make = Callable[[int], CanonicalVideo | LayeredVideo]
"""Number of the frame that is given -> the clip."""


def still_clip(frames: list[np.ndarray], given: int) -> CanonicalVideo:
    """A clip that does not move."""
    height, width = frames[0].shape[:2]
    return CanonicalVideo(frames[given], torch.zeros(len(frames), height, width, 2))


def flow_clip(frames: list[np.ndarray], flows: Flows, given: int) -> CanonicalVideo:
    """A clip whose canonical image is a frame, by flow chained from there; `visibility` says where it holds."""
    height, width = frames[0].shape[:2]
    grid = pixel_grid(height, width)
    places: list[Tensor] = [grid] * len(frames)  # where each pixel is in the given frame
    shown = torch.ones(len(frames), height, width, dtype=torch.bool)
    for order in (range(given + 1, len(frames)), range(given - 1, -1, -1)):
        for t in order:
            near = t - 1 if order.step > 0 else t + 1
            flow, trust = flows.between(t, near)
            at = grid + flow
            places[t] = at + sample(places[near] - grid, at.movedim(0, -1), units="pixels")
            shown[t] = (trust > TRUSTED) & (
                sample(shown[near][None].float(), at.movedim(0, -1), units="pixels")[0] > 0.5
            )
    where = to_normalised(torch.stack(places).movedim(1, -1), (height, width))
    video = CanonicalVideo(frames[given], where - identity_grid(height, width))
    video.visibility = shown
    return video


def fitted_clip(source: Path, kept: Path, options: argparse.Namespace) -> CanonicalVideo | LayeredVideo:
    """A fit of a clip, read from `kept` when it is there."""
    if not (kept / "video.json").exists():
        how = {"size": options.size, "quality": options.quality, "budget": options.budget}
        with tempfile.TemporaryDirectory() as folder:
            if options.layers == "mask":
                labels = torch.from_numpy(true_masks(source.parent)[0])
                for t, mask in enumerate(propagate_mask(read_frames(source, MASK_SIZE), labels)):
                    write_labels(Path(folder) / f"{t:05d}.png", mask.numpy())
                how["masks"] = folder
            else:
                how["layers"] = options.layers
            fit_video(source, **how).save(kept)
    return load_clip(kept)


def read_frames(source: Path, size: int) -> list[np.ndarray]:
    """All frames, uint8 (H, W, 3)."""
    return [frame for scene in read_footage(source, size).scenes for frame in scene.frames]


def true_masks(folder: Path) -> np.ndarray:
    """The ground truth of a clip, (T, H, W)."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted((folder / "mask").iterdir())])


def score_masks(folder: Path, carry: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """DAVIS's measures of masks carried from the first frame by a function from its labels to those of all frames."""
    truth = true_masks(folder)
    labels = torch.from_numpy(truth[0].copy())
    size = (truth.shape[1], truth.shape[2])
    carried = torch.stack([resized_labels(mask, size) for mask in carry(labels)])
    carried[0] = labels
    count = min(len(carried), len(truth))
    return davis(carried[:count], truth[:count], void_label=None, skip_ends=True).summary()


def score_points(
    folder: Path, size: tuple[int, int], follow: Callable[[Tensor, int], Tracks | FollowedPoints]
) -> dict[str, float]:
    """TAP-Vid's measures of points, each followed from the first annotated frame that shows it.

    Args:
        size: height and width of the frames in whose pixels a function follows points of one of them.
    """
    with np.load(folder / "points.npz") as archive:
        frames, truth, seen = archive["frame"], archive["xy"].swapaxes(0, 1), archive["visible"].T
    chosen, queries = queries_first(seen)
    positions, visible = np.zeros((len(chosen), len(frames), 2)), np.zeros((len(chosen), len(frames)), bool)
    full = np.array(SIZES[folder.name])
    scale = np.array([size[1], size[0]]) / full
    for query in np.unique(queries):
        rows = np.flatnonzero(queries == query)
        points = torch.from_numpy((truth[chosen[rows], query] + 0.5) * scale - 0.5)
        tracks = follow(points, int(frames[query]))
        positions[rows] = (tracks.positions[:, frames].numpy() + 0.5) / scale - 0.5
        visible[rows] = tracks.visible[:, frames].numpy()
    score = tap_vid(positions, visible, truth[chosen], seen[chosen], queries, size=(full[1], full[0]))
    return {**score.summary(), "points": len(chosen), "scored": int(seen[chosen].sum()) - len(chosen)}


SIZES = {"bear": (854, 480)}
"""Width and height in which the points of a clip are given."""


def measure(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Scores of one clip for each way to a field."""
    points = (folder / "points.npz").exists()
    source = folder / f"{folder.name}.mp4" if points else folder / "rgb"
    if not source.exists():
        source = next(folder.glob("*.mp4"))
    frames = read_frames(source, options.size)
    size = (frames[0].shape[0], frames[0].shape[1])
    start = time.perf_counter()
    flows = compute_flows(frames, dis_flow())
    seconds = {"flow": time.perf_counter() - start}
    makers: dict[str, Make] = {
        "still": lambda given: still_clip(frames, given),
        "flow": lambda given: flow_clip(frames, flows, given),
    }
    fitted = None
    if options.fit:
        fitted = fitted_clip(source, options.fit / folder.name, options)
        if points and fitted.size != size:
            raise SystemExit(f"{options.fit / folder.name} is a fit of {min(fitted.size)} pixels: give that as --size")
        makers["fit"] = lambda given: fitted
    rows = {}
    for name, make in makers.items():
        if points:
            rows[name] = score_points(folder, size, lambda given, t, make=make: make(t).track(given, t))
        else:
            rows[name] = score_masks(folder, lambda labels, make=make: make(0).segment(labels, frame=0))
        rows[name]["seconds"] = seconds.get(name, 0.0)
    if not points and true_masks(folder)[0].max() == 1:
        rows["moving"] = score_masks(folder, lambda labels: segment_moving_objects(frames, flows, seed=0))
    if options.features:
        start = time.perf_counter()
        if points:
            rows["features"] = score_points(folder, size, lambda given, t: follow_points(frames, given, t))
        else:
            rows["features"] = score_masks(
                folder, lambda labels: propagate_mask(read_frames(source, MASK_SIZE), labels)
            )
        rows["features"]["seconds"] = time.perf_counter() - start
    if fitted is not None:
        rows["fit"].update(psnr=float(fitted.report["psnr"]), seconds=float(fitted.report["seconds"]))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder that holds clips_gt")
    parser.add_argument("--clips", nargs="+", default=["bear", *MASKED])
    parser.add_argument("--size", type=int, default=240, help="pixels of the shorter side of the fields")
    parser.add_argument("--fit", type=Path, metavar="FOLDER", help="fit the clips too, and keep the fits there")
    parser.add_argument("--quality", default="default", help="of the fits")
    parser.add_argument("--layers", default="one", choices=["one", "auto", "mask"], help="of the fits")
    parser.add_argument("--features", action="store_true", help="follow masks and points without a field too")
    parser.add_argument("--budget", type=float, help="seconds for each fit, instead of its quality's number of steps")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folders = [options.data / "clips_gt" / name for name in options.clips]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise SystemExit(f"{missing[0]} is missing: give the folder that holds clips_gt with --data")
    reports = {}
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for folder in folders:
        reports[folder.name] = measure(folder, options)
        for name, row in reports[folder.name].items():
            print(f"{folder.name:<12} {name:<6}", *(f"{key} {value:.3f}" for key, value in row.items()), flush=True)
    if options.json:
        print(json.dumps(reports))


if __name__ == "__main__":
    main()
