"""How good a latent model's pictures are.

    python benchmarks/latent.py reconstruction FOLDER sky=sky_test.zip driving=driving_test.zip
    python benchmarks/latent.py samples MODEL --train sky.zip --held-out sky_test.zip --beside sky [--sheet sky.jpg]

`reconstruction`: PSNR and LPIPS of frames that the autoencoder in FOLDER never saw, a mean over frames of each archive.
`samples`: Frechet and kernel distance of EfficientNet-Lite0 features to training frames and to held-out ones, of the
model's images and of the canonical images of another model (`--beside`), enlarged to the same size (bicubic); LPIPS of
each image to its nearest training frame (the `--candidates` frames nearest in features are compared).
Weights: GENDEF_WEIGHTS for LPIPS; EfficientNet-Lite0 comes with the extra `train`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gendef.data import VideoArchive
from gendef.evaluation.detectors import Detector, find_detector
from gendef.media.images import to_uint8, write_image
from gendef.metrics.frechet import GaussianStatistics, frechet_distance
from gendef.metrics.image_quality import psnr
from gendef.metrics.kernel_distance import kernel_distance
from gendef.metrics.lpips import load_lpips
from gendef.model.gendef import GenDeF
from gendef.model.latent import LatentImages
from gendef.model.latent_files import load_autoencoder
from gendef.visualization.drawing import contact_sheet

NEAR = 0.15
"""An image nearer than this in LPIPS to a training frame counts as memorised."""
COLUMNS = 8


def frames_of(archive: VideoArchive, count: int) -> Tensor:
    """Up to `count` frames, uint8 (N, 3, R, R), evenly spread over all frames of the archive."""
    places = [(clip, frame) for clip, length in enumerate(archive.lengths) for frame in range(length)]
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    return torch.cat([archive.read_frames(clip, [frame]) for clip, frame in (places[i] for i in chosen)])


def as_floats(frames: Tensor) -> Tensor:
    """uint8 -> [-1, 1]."""
    return frames.float() / 127.5 - 1


@torch.no_grad()
def reconstruction(options: argparse.Namespace) -> dict[str, object]:
    """PSNR and LPIPS of each archive."""
    autoencoder, info = load_autoencoder(options.model)
    lpips, _ = load_lpips()
    report: dict[str, object] = {"images_seen": info.get("images_seen")}
    for name, _, path in (text.partition("=") for text in options.archives):
        quality, distance = [], []
        for frame in frames_of(VideoArchive(path), options.frames):
            image = as_floats(frame[None])
            # As a picture file has it.
            made = as_floats(torch.from_numpy(to_uint8(autoencoder(image)[0])).permute(2, 0, 1)[None])
            quality.append(float(psnr(made, image)))
            distance.append(float(lpips(made, image)))
        report[name] = {
            "frames": len(quality),
            "psnr": round(float(np.mean(quality)), 2),
            "psnr_worst": round(min(quality), 2),
            "lpips": round(float(np.mean(distance)), 4),
        }
    return report


def features(detector: Detector, frames: Tensor) -> np.ndarray:
    """Features (N, D) of uint8 frames (N, 3, R, R)."""
    return torch.cat([detector.features([frame[None]]) for frame in frames]).numpy()


def distances(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Frechet distance and kernel distance."""
    frechet = frechet_distance(GaussianStatistics.of(first), GaussianStatistics.of(second))
    kernel = kernel_distance(first, second)
    return {
        "frechet": round(frechet.value, 2),
        "kernel": round(kernel.value, 2),
        "kernel_spread": round(kernel.spread, 2),
    }


@torch.no_grad()
def nearest(images: Tensor, rows: np.ndarray, train: Tensor, train_rows: np.ndarray, candidates: int) -> list[float]:
    """LPIPS of each image to the nearest of the training frames whose features are nearest."""
    lpips, _ = load_lpips()
    found = []
    for image, row in zip(images, rows, strict=True):
        near = np.argsort(((train_rows - row) ** 2).sum(axis=1))[:candidates]
        others = as_floats(train[near])
        found.append(float(lpips(as_floats(image[None]).expand_as(others), others).min()))
    return found


def samples(options: argparse.Namespace) -> dict[str, object]:
    """Distances of the model's images, and of another model's."""
    model = LatentImages.from_pretrained(options.model)
    own = torch.stack([model.image(seed, truncation=options.truncation) for seed in range(options.images)])
    sets = {"model": torch.from_numpy(to_uint8(own)).permute(0, 3, 1, 2)}
    if options.beside:
        other = GenDeF.from_pretrained(options.beside)
        small = torch.stack([other.sample(seed, 1).canonical for seed in range(options.images)])
        large = F.interpolate(small, (model.resolution,) * 2, mode="bicubic", align_corners=False)
        sets[f"{options.beside}, enlarged"] = torch.from_numpy(to_uint8(large)).permute(0, 3, 1, 2)
    detector = Detector(find_detector("efficientnet-lite0"))
    train = frames_of(VideoArchive(options.train), options.frames)
    held_out = frames_of(VideoArchive(options.held_out), options.frames)
    train_rows, held_rows = features(detector, train), features(detector, held_out)
    report: dict[str, object] = {
        "images": options.images,
        "train_frames": len(train),
        "held_out_frames": len(held_out),
        "held out to train": distances(held_rows, train_rows),
    }
    for name, images in sets.items():
        rows = features(detector, images)
        near = nearest(images, rows, train, train_rows, options.candidates)
        report[name] = {
            "to train": distances(rows, train_rows),
            "to held out": distances(rows, held_rows),
            "nearest_lpips": round(float(np.mean(near)), 3),
            "share_memorised": round(float(np.mean(np.array(near) < NEAR)), 3),
        }
    if options.sheet:
        rows_of_sheet = [list(images[:COLUMNS].permute(0, 2, 3, 1).numpy()) for images in sets.values()]
        write_image(options.sheet, contact_sheet(rows_of_sheet))
    return report


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("reconstruction")
    first.add_argument("model")
    first.add_argument("archives", nargs="+", metavar="NAME=ARCHIVE")
    first.add_argument("--frames", type=int, default=96)
    second = commands.add_parser("samples")
    second.add_argument("model")
    second.add_argument("--train", required=True)
    second.add_argument("--held-out", required=True)
    second.add_argument("--beside")
    second.add_argument("--images", type=int, default=256)
    second.add_argument("--frames", type=int, default=512)
    second.add_argument("--candidates", type=int, default=16)
    second.add_argument("--truncation", type=float, default=1.0)
    second.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    report = reconstruction(options) if options.command == "reconstruction" else samples(options)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
