import numpy as np
import pytest
from PIL import Image

from gendef.networks.discriminator_config import DiscriminatorConfig, ProjectedConfig
from gendef.training.config import FinetuneConfig, StageConfig, TrainConfig

from ..conftest import tiny_config


@pytest.fixture
def archive_path(tmp_path):
    """Three clips of 12 frames of 16 pixels: a bright square that moves over noise."""
    from pathlib import Path

    from gendef.data import PrepareConfig, prepare

    rng = np.random.default_rng(0)
    for clip in range(3):
        folder = tmp_path / "frames" / f"clip{clip}"
        folder.mkdir(parents=True)
        background = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8)
        for t in range(12):
            frame = background.copy()
            frame[4:8, t % 12 : t % 12 + 4] = 255
            Image.fromarray(frame).save(folder / f"{t:03d}.png")
    out = tmp_path / "data.zip"
    prepare([Path(tmp_path / "frames")], out, PrepareConfig(resolution=16, format="png", cut_scenes=False), workers=1)
    return out


def tiny_training(discriminator="stylegan-v", augment="ada", **finetune):
    """A configuration whose steps take milliseconds."""
    stage = {"images": 16, "batch_size": 4, "r1_interval": 2, "augment": augment, "ema_images": 8.0}
    return TrainConfig(
        generator=tiny_config(),
        discriminator=discriminator,
        stylegan_v=DiscriminatorConfig(resolution=16, channel_base=128, channel_max=16, time_dim=4),
        projected=ProjectedConfig(feature_size=64, mixed_channels=8, head_channels=8),
        pretrain=StageConfig(**stage),
        finetune=FinetuneConfig(**stage, **finetune),
        max_distance=8,
        precision="float32",
    )
