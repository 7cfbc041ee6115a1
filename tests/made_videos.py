"""Small videos, frame folders and zips to prepare."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _texture(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth coloured blobs, uint8 (height, width, 3), of their own colours for each seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), np.uint8)
    small = (small * 0.5 + rng.integers(0, 128, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def pan() -> Callable[..., np.ndarray]:
    """`pan(count, height, width, seed, speed)`: a camera moving over a texture, uint8 (count, height, width, 3)."""

    def make(count: int, height: int = 36, width: int = 64, seed: int = 0, speed: int = 2) -> np.ndarray:
        wide = _texture(seed, height, width + speed * count)
        return np.stack([wide[:, speed * t : speed * t + width] for t in range(count)])

    return make


@pytest.fixture
def write_video() -> Callable[..., Path]:
    """`write_video(path, frames, fps, codec)`: an encoded video; gifs by Pillow."""

    def write(path: Path, frames: np.ndarray, fps: int = 25, codec: str = "libx264") -> Path:
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gif":
            images = [Image.fromarray(frame) for frame in frames]
            images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
            return path
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        return path

    return write


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    """`write_folder(path, frames)`: frames as 0.png, 1.png, ... without leading zeros."""

    def write(path: Path, frames: np.ndarray) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"{index}.png")
        return path

    return write


@pytest.fixture
def write_zip() -> Callable[..., Path]:
    """`write_zip(path, {folder: frames}, extra)`: a StyleGAN-V style zip; `extra` maps more names to bytes."""

    def write(path: Path, clips: dict[str, np.ndarray], extra: dict[str, bytes] | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for folder, frames in clips.items():
                for index, frame in enumerate(frames):
                    buffer = io.BytesIO()
                    Image.fromarray(frame).save(buffer, "PNG")
                    archive.writestr(f"{folder}/{index}.png", buffer.getvalue())
            for name, data in (extra or {}).items():
                archive.writestr(name, data)
        return path

    return write
