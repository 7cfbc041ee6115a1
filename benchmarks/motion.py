"""Measures of a motion prior: its basis, the shape of its motions beside the data's, what stands still, FVD and KVD.

python benchmarks/motion.py shape PRIOR --motions sky.motions [--only 's03*' ...]
python benchmarks/motion.py distance PRIOR... --clips FOLDER --weights FOLDER [--label sky]

`shape` compares samples for the images of the motion data with the motion of the data; give it sources that the prior
was not trained on. `distance` animates the first frame of every clip for 16 frames and compares with the clips: FVD and
KVD (I3D), also of the first frames standing still. Frames are plain warps, without layers and filling.
"""

import argparse
import json
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.animation.moving_layer import HORIZON, PIXELS, moving_places, textured, travel
from gendef.animation.prior import MotionPrior
from gendef.data.motions import MotionSet, joined
from gendef.training.motion_preparation import as_frames, image_features, label_numbers
from gendef.training.motion_preview import plain_frames, settled
from gendef.training.motion_samples import LEAST_SPEED, plain_samples

FRAMES = 16


def shape(prior: MotionPrior, windows: MotionSet) -> dict[str, Any]:
    """Energy in the basis, and speed, straightness, directions and expansion of samples beside the data's."""
    maps = image_features(prior, windows, lambda *args, **values: None)
    samples = plain_samples(windows, maps, torch.arange(len(windows)), prior.config.grid)
    good = samples.speed > LEAST_SPEED
    fields, speed = samples.fields[good], samples.speed[good]
    unit = (fields / speed[:, None, None, None, None]).flatten(1)
    coefficients = unit @ prior.basis.T
    lost = unit - coefficients @ prior.basis
    energy = {f"{count}": _energy(unit, prior.basis[:count]) for count in (16, 32, 64, 96) if count <= len(prior.basis)}
    labels = label_numbers(windows, prior.config.labels)
    drawn, still_pixels, still_shown, caught = [], [], [], []
    for number in range(len(windows)):
        motion = prior.sample(as_frames(windows.images[number]), number, label=prior.config.labels[int(labels[number])])
        if good[number]:
            drawn.append(motion.fields)
        goes = travel(windows.fields[number][None].float(), windows.visible[number][None] / 255, prior.key_times)[0]
        still = (goes < 0.3) & (textured(windows.images[number][None], len(goes))[0] > 0.99)
        length = F.interpolate(_pixels(motion.fields).mean(dim=0)[None, None], goes.shape, mode="bilinear")[0, 0]
        if still.any():
            still_pixels.append(length[still])
            still_shown.append((length * settled(motion.moving))[still])
        caught.append(((motion.moving > 0.5) == (moving_places(goes[None])[0] > 0.5)).float().mean())
    result = {
        "windows": len(windows),
        "sources": sorted({windows.sources[source]["name"] for source in windows.source.tolist()}),
        "energy, every window alike": energy,
        "energy, as it is": float(1 - (lost.flatten(1) * speed[:, None]).square().sum() / fields.square().sum()),
        "data": _described(fields, prior),
        "data, in the basis": _described(_in_basis(prior, fields, speed), prior),
        "samples": _described(torch.stack(drawn), prior),
        "moving map agrees": float(torch.stack(caught).mean()),
    }
    if still_pixels:
        shown = torch.cat(still_shown)
        result["still places"] = {
            "share of windows": len(still_pixels) / len(windows),
            "median motion of the layer, pixels of 256": float(torch.cat(still_pixels).median()),
            "median motion shown": float(shown.median()),
            "share that moves less than 0.1 pixel": float((shown < 0.1).float().mean()),
        }
    return result


def _in_basis(prior: MotionPrior, fields: Tensor, speed: Tensor) -> Tensor:
    return prior.motion_basis.decode(prior.motion_basis.encode(fields, speed))


def _energy(values: Tensor, basis: Tensor) -> float:
    """Share of the energy of `values` (N, P) in the span of orthonormal rows."""
    return float((values @ basis.T).square().sum() / values.square().sum())


def _pixels(fields: Tensor) -> Tensor:
    return fields.norm(dim=-1) * PIXELS / 2


def _described(fields: Tensor, prior: MotionPrior) -> dict[str, Any]:
    """Fields (N, K, h, w, 2): speed in pixels (of 256) a frame, path straightness, share of 8 directions, expansion."""
    frames = float(prior.key_times[-1] - prior.key_times[0])
    steps = fields.diff(dim=1)
    path = steps.norm(dim=-1).sum(dim=1)
    straight = (fields[:, -1] - fields[:, 0]).norm(dim=-1).mean(dim=(1, 2)) / path.mean(dim=(1, 2))
    speed = path.mean(dim=(1, 2)) / frames * PIXELS / 2
    towards = -(fields[:, -1] - fields[:, 0]).mean(dim=(1, 2))  # content goes where the backward map comes from
    angles = torch.atan2(towards[:, 1], towards[:, 0])
    last = fields[:, -1]
    wide = (last[:, :, -1, 0] - last[:, :, 0, 0]).mean() + (last[:, -1, :, 1] - last[:, 0, :, 1]).mean()
    return {
        "speed mean": float(speed.mean()),
        "speed median": float(speed.median()),
        "straightness": float(straight.mean()),
        "unsteadiness": float(fields.diff(dim=1, n=2).norm(dim=-1).mean() / steps.norm(dim=-1).mean()),
        "directions (0 right, 90 down)": _histogram(angles),
        f"expansion in {HORIZON:g} frames": float(-wide / 4),
    }


def _histogram(angles: Tensor) -> dict[str, float]:
    eighth = torch.round(angles / (torch.pi / 4)).long() % 8
    counts = torch.bincount(eighth, minlength=8) / len(angles)
    return {f"{45 * number}": round(float(count), 3) for number, count in enumerate(counts)}


def distance(
    priors: list[str], folder: Path, weights: Path, label: str | None, seeds: list[int], sheet: Path | None
) -> dict[str, Any]:
    """FVD and KVD of first frames that stand still, and that each prior animates, against the clips of a folder."""
    from gendef.evaluation.detectors import Detector, find_detector
    from gendef.media.images import to_uint8, write_image
    from gendef.media.sources import discover
    from gendef.media.video_reader import (
        Frame,
        read_frames,
    )
    from gendef.metrics.frechet import GaussianStatistics, frechet_distance
    from gendef.metrics.kernel_distance import kernel_distance
    from gendef.visualization.drawing import contact_sheet

    detector = Detector(find_detector("i3d"), weights)
    clips = []
    for source in discover([folder]):
        read = zip(read_frames(source), range(FRAMES), strict=False)
        frames = [torch.from_numpy(one.image) for one, _ in read if isinstance(one, Frame)]
        if len(frames) == FRAMES:
            clips.append(torch.stack(frames).movedim(-1, 1))
    real = torch.cat([detector.features([clip]) for clip in clips])
    rows: dict[str, Any] = {"clips": len(clips), "frames": FRAMES, "detector": detector.facts()}

    def measured(made: list[Tensor]) -> dict[str, float]:
        fake = torch.cat([detector.features([clip]) for clip in made])
        near = kernel_distance(fake, real)
        frechet = frechet_distance(GaussianStatistics.of(fake.numpy()), GaussianStatistics.of(real.numpy())).value
        return {"FVD": frechet, "KVD": near.value, "KVD spread": near.spread}

    rows["still"] = measured([clip[:1].expand(FRAMES, -1, -1, -1) for clip in clips])
    times = torch.arange(FRAMES, dtype=torch.float32)
    for name, seed in product(priors, seeds):
        prior, made = MotionPrior.from_pretrained(name), []
        for number, clip in enumerate(clips):
            image = as_frames(clip[0])
            motion = prior.sample(image, 1000 * seed + number, label=label)
            made.append(torch.from_numpy(to_uint8(plain_frames(image, motion, times))).movedim(-1, 1))
        rows[f"{name}, seed {seed}"] = measured(made)
        print(json.dumps(rows, indent=1), flush=True)
        if sheet is not None:
            shown = [
                [clip[0], clip[-1], fake[FRAMES // 2], fake[-1]]
                for clip, fake in zip(clips[::2], made[::2], strict=True)
            ]
            rows_of_two = [[*one, *other] for one, other in zip(shown[::2], shown[1::2], strict=False)]
            pictures = [[picture.movedim(0, -1).numpy() for picture in row] for row in rows_of_two]
            write_image(sheet, contact_sheet(pictures, column_labels=["clip 0", "clip 15", "made 8", "made 15"] * 2))
            sheet = None
    return rows


def main() -> None:
    """Run one of the measures and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("shape", "distance"))
    parser.add_argument("priors", nargs="+", metavar="PRIOR")
    parser.add_argument("--motions", type=Path, nargs="+", default=[])
    parser.add_argument("--only", nargs="+", default=["*"])
    parser.add_argument("--most", type=int, default=120, help="windows, spread evenly over the sources")
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--label")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "distance":
        if options.clips is None or options.weights is None:
            parser.error("distance needs --clips and --weights")
        result = distance(options.priors, options.clips, options.weights, options.label, options.seeds, options.sheet)
    else:
        if not options.motions:
            parser.error("shape needs --motions")
        prior = MotionPrior.from_pretrained(options.priors[0])
        windows = joined([MotionSet.load(path) for path in options.motions])
        named = [any(fnmatch(one["name"], pattern) for pattern in options.only) for one in windows.sources]
        known = [one["label"] in prior.config.labels for one in windows.sources]
        chosen = (torch.tensor(named) & torch.tensor(known))[windows.source.long()].nonzero()[:, 0]
        spread = torch.linspace(0, len(chosen) - 1, min(options.most, len(chosen))).round().long()
        result = shape(prior, windows.chosen(chosen[spread]))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
