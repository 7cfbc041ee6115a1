"""Little clips with known motion."""

import numpy as np
import pytest
import torch
from PIL import Image

from gendef.geometry import sample, to_normalised


def scenery(height, width, seed=0):
    """A picture with detail at several sizes, (3, H, W) in [-1, 1]."""
    torch.manual_seed(seed)
    image = torch.zeros(3, height, width)
    for size, strength in ((4, 0.5), (10, 0.4), (24, 0.25)):
        rough = torch.rand(1, 3, size, size * width // height) * 2 - 1
        image += strength * torch.nn.functional.interpolate(rough, (height, width), mode="bicubic")[0]
    return image.clamp(-1, 1)


def views(picture, positions):
    """Frames (T, 3, H, W) that show `picture` at pixel positions (T, H, W, 2)."""
    where = to_normalised(positions, picture.shape[1:])
    return torch.cat([sample(picture[None], one[None]) for one in where])


def write_frames(folder, frames):
    """Frames (T, 3, H, W) in [-1, 1] as a folder of PNG files."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        pixels = ((frame + 1) * 127.5).round().clamp(0, 255).byte().movedim(0, -1).numpy()
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def pixels():
    """Pixel coordinates (48, 64, 2)."""
    y, x = np.mgrid[:48, :64]
    return torch.from_numpy(np.stack((x, y), axis=-1)).float()


@pytest.fixture
def pan(tmp_path, pixels):
    """A folder of six frames of 64x48 that pan over a picture by 2.5 pixels a frame, and the frames."""
    positions = torch.stack([pixels + torch.tensor([6.0 + 2.5 * t, 8.0]) for t in range(6)])
    frames = views(scenery(64, 96), positions)
    return write_frames(tmp_path / "pan", frames), frames
