"""A cheap detector and small clips."""

import io
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from gendef.evaluation.detectors import Detector, DetectorSpec


def thumbnails(clips):
    """(B, 3, T, 16, 16) -> (B, 48): small pictures of the mean, of the detail and of the change over time."""
    mean = F.adaptive_avg_pool2d(clips.mean(dim=2), 2)
    detail = (clips - F.avg_pool3d(clips, (1, 3, 3), 1, (0, 1, 1))).abs().mean(dim=2)
    change = clips.diff(dim=2).abs().mean(dim=2)
    turn = clips.diff(dim=2).diff(dim=2).abs().mean(dim=2)
    return torch.cat([mean, *(10 * F.adaptive_avg_pool2d(part, 2) for part in (detail, change, turn))], 1).flatten(1)


def make_spec(**changes):
    options = {
        "name": "thumbnails",
        "input_kind": "clips",
        "size": 16,
        "antialias": True,
        "value_range": (-1.0, 1.0),
        "layer": "test",
        "dimension": 48,
        "load": lambda weights, device: (thumbnails, "no weights"),
        "min_frames": 3,
    }
    return DetectorSpec(**(options | changes))


@pytest.fixture
def spec():
    return make_spec


@pytest.fixture
def detector():
    return Detector(make_spec())


def moving_clips(count, seed, frames=6, side=16):
    """Smooth random textures that drift, uint8 (count, T, 3, S, S)."""
    rng = np.random.default_rng(seed)
    clips = np.empty((count, frames, 3, side, side), np.uint8)
    grid = np.arange(side) / side * 2 * np.pi
    for clip in clips:
        phase, speed, colour = rng.uniform(0, 6, 2), rng.normal(0.4, 0.1, 2), rng.uniform(40, 90, 3)
        for t, frame in enumerate(clip):
            x, y = grid[None] + phase[0] + speed[0] * t, grid[:, None] + phase[1] + speed[1] * t
            wave = np.sin(2 * x) * np.cos(3 * y) + 0.5 * np.sin(5 * x + y)
            frame[:] = (128 + colour[:, None, None] * wave / 1.5).clip(0, 255)
    return torch.from_numpy(clips)


@pytest.fixture
def clips():
    return moving_clips


def write_archive(path, clips):
    """A zip of PNG frames, one folder a clip."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, clip in enumerate(clips):
            for t, frame in enumerate(clip):
                buffer = io.BytesIO()
                Image.fromarray(np.ascontiguousarray(frame.numpy().transpose(1, 2, 0))).save(buffer, "PNG")
                archive.writestr(f"clip{number:03d}/{t:06d}.png", buffer.getvalue())
    return path


@pytest.fixture
def archive(tmp_path):
    return lambda name, clips: write_archive(tmp_path / name, clips)
