"""Previews of a training run: sheets of images and clips from fixed seeds."""

from pathlib import Path

import numpy as np
import torch

from gendef.media.images import to_uint8, write_image
from gendef.media.video_writer import write_video
from gendef.networks.baselines import AnyGenerator
from gendef.networks.generator import Generator
from gendef.visualization.drawing import contact_sheet


@torch.no_grad()
def preview(generator: AnyGenerator, folder: Path, stage: str, images: int, seed: int, fps: float = 25.0) -> None:
    """Write a sheet of images (stage 1), or a sheet and an mp4 of clips (stage 2), from fixed seeds."""
    device = next(generator.parameters()).device
    noise = torch.Generator().manual_seed(seed)
    count = 24 if stage == "pretrain" else 6
    labels = None
    if generator.num_classes:
        labels = torch.eye(generator.num_classes)[torch.arange(count) % generator.num_classes].to(device)
    z_content = torch.randn(count, generator.z_dim, generator=noise).to(device)
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / f"{stage}-{images:08d}"
    if stage == "pretrain":
        pictures = to_uint8(generator.images(z_content, labels))
        write_image(name.with_suffix(".png"), contact_sheet([list(pictures[i : i + 8]) for i in range(0, count, 8)]))
        return
    frames = 48
    z_motion = torch.randn(count, generator.z_dim, generator=noise).to(device)
    rows_of_noise = generator.motion_noise_length(frames - 1)
    motion = torch.randn(count, rows_of_noise, generator.motion_dim, generator=noise).to(device)
    videos, first = [], None
    for start in range(0, frames, 8):
        times = torch.arange(start, start + 8.0, device=device).expand(count, -1)
        if isinstance(generator, Generator):
            out = generator(z_content, z_motion, motion, times, labels=labels)
            first = to_uint8(out.canonical)
            videos.append(to_uint8(out.video))
        else:
            videos.append(to_uint8(generator(z_content, motion, times, labels=labels)))
    video = np.concatenate(videos, axis=1)
    shown = video[:, :: frames // 8]
    rows = [list(clip) if first is None else [first[i], *clip] for i, clip in enumerate(shown)]
    write_image(name.with_suffix(".png"), contact_sheet(rows))
    sheets = (contact_sheet([list(video[:3, t]), list(video[3:, t])]) for t in range(frames))
    write_video(name.with_suffix(".mp4"), sheets, fps)
