"""Frames of an archive as latents, computed once and kept in the folder of the run."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from gendef.data.archive import VideoArchive
from gendef.model.sampling import hash_of_weights
from gendef.networks.autoencoder import Autoencoder
from gendef.runtime.atomic_file import replacing

AT_ONCE = 8
"""Images that are encoded together."""


def images_of(archive: VideoArchive, count: int) -> Tensor:
    """(count, 3, R, R) in [-1, 1]: frames from the middles of clips, evenly spread over the archive."""
    clips = [round(k * (archive.num_clips - 1) / max(count - 1, 1)) for k in range(count)]
    frames = torch.cat([archive.read_frames(clip, [archive.lengths[clip] // 2]) for clip in clips])
    return frames.float() / 127.5 - 1


@torch.no_grad()
def encode_archive(
    autoencoder: Autoencoder, archive: VideoArchive, folder: Path, mirror: bool, say: Callable[[str], None]
) -> tuple[Tensor, Tensor]:
    """Latents of all frames, float16 (N, C, S, S), and the number (N,) of the source of each.

    Args:
        folder: where they are kept; read again if they are of the same data and the same encoder.
        mirror: add the latents of the mirrored frames (a mirrored latent decodes to another image).
        say: told what happens.
    """
    marks = {
        "data": archive.fingerprint,
        "encoder": hash_of_weights(autoencoder.encoder),
        "mirror": str(mirror),
    }
    path = folder / f"latents-{marks['data'][:8]}-{marks['encoder'][:8]}-{mirror}.safetensors"
    if path.is_file():
        kept = load_file(path)
        return kept["latents"], kept["sources"]
    say(f"encoding {archive.num_frames * (1 + mirror)} images")
    device = next(autoencoder.parameters()).device
    names = sorted(set(archive.sources))
    latents, sources = [], []
    for clip, (length, source) in enumerate(zip(archive.lengths, archive.sources, strict=True)):
        for start in range(0, length, AT_ONCE):
            frames = archive.read_frames(clip, list(range(start, min(start + AT_ONCE, length))))
            images = frames.to(device).float() / 127.5 - 1
            if mirror:
                images = torch.cat([images, images.flip(-1)])
            latents.append(autoencoder.encode(images).half().cpu())
            sources += [names.index(source)] * len(images)
    found = {"latents": torch.cat(latents), "sources": torch.tensor(sources)}
    with replacing(path) as temporary:
        temporary.write_bytes(save(found, metadata=marks))
    return found["latents"], found["sources"]
