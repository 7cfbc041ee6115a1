"""A clip as files for compositing programs: STMaps, their inverses, canonical images, mattes and a script."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from gendef.errors import InputError
from gendef.interchange.nuke import ScriptClip, clip_script
from gendef.interchange.stmap import inverse_stmaps, sized_field, to_stmap
from gendef.media.exr import srgb_decoded, write_exr
from gendef.media.images import to_uint8, write_image
from gendef.runtime.atomic_folder import staged
from gendef.video.base import Video
from gendef.video.canonical_video import CanonicalVideo

Target = Literal["nuke", "fusion", "blender"]
TARGETS: tuple[Target, ...] = ("nuke", "fusion", "blender")
FIRST = 1
"""Number of the first frame in file names and scripts."""


def export_clip(
    video: Video,
    folder: str | Path,
    target: Target = "nuke",
    size: tuple[int, int] | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Write a clip for a compositing program, all of the files or none.

    `stmap.0001.exr` and so on hold u and v into the canonical image in R and G, and visibility in A;
    `stmap_inverse.0001.exr` and so on u and v into the frame, and in A whether the frame shows the place.
    `canonical.exr` is the canonical image as linear light, `canonical.png` the same in sRGB. Nuke gets `clip.nk`. A
    clip of several layers has a folder for each, `layer00` at the back, with its matte in A of `stmap`.

    Args:
        target: nuke, fusion or blender; the maps are the same for all.
        size: height and width of the STMaps; default the clip's.
        on_frame: called after every frame of every layer.

    Returns:
        The folders that hold one layer each.

    Raises:
        InputError: another target, or `folder` is a file.
        MissingDependencyError: OpenEXR is not installed.
    """
    if target not in TARGETS:
        raise InputError(f"--to must be one of {', '.join(TARGETS)}, got {target!r}")
    several = len(video.layers) > 1
    with staged(Path(folder)) as stage:
        for number, layer in enumerate(video.layers):
            place = stage / f"layer{number:02d}" if several else stage
            place.mkdir(parents=True, exist_ok=True)
            seen = video.visibility if not several else layer.video.visibility
            masks = [None] * layer.video.num_frames if seen is None else list(seen.numpy())
            if layer.alpha is not None:
                masks = [
                    alpha if mask is None else alpha * mask
                    for alpha, mask in zip(layer.alpha.numpy() / 255, masks, strict=True)
                ]
            _write_layer(place, layer.video, masks, layer.start + FIRST, size, on_frame)
            if target == "nuke":
                script = _script(layer.video, layer.start + FIRST, size)
                (place / "clip.nk").write_text(script)
    return [Path(folder) / f"layer{number:02d}" for number in range(len(video.layers))] if several else [Path(folder)]


def _write_layer(
    place: Path,
    video: CanonicalVideo,
    masks: list[np.ndarray | None],
    first: int,
    size: tuple[int, int] | None,
    on_frame: Callable[[], None],
) -> None:
    encoded = (video.canonical.movedim(0, -1).numpy() + 1) / 2
    linear = srgb_decoded(encoded).astype(np.float32)
    write_exr(place / "canonical.exr", {name: linear[..., k] for k, name in enumerate("RGB")})
    write_image(place / "canonical.png", to_uint8(video.canonical))
    inverse = inverse_stmaps(video.deformation, _canonical_map_size(video))
    for number in range(video.num_frames):
        uv = to_stmap(sized_field(video.deformation, number, size))
        mask = masks[number]
        alpha = np.ones(uv.shape[:2], np.float32) if mask is None else _sized(mask, uv.shape[:2])
        write_exr(place / f"stmap.{first + number:04d}.exr", _channels(uv, alpha))
        back, shown = next(inverse)
        write_exr(place / f"stmap_inverse.{first + number:04d}.exr", _channels(back, shown.astype(np.float32)))
        on_frame()


def _canonical_map_size(video: CanonicalVideo) -> tuple[int, int]:
    """Height and width of the inverse maps: the canonical image's, or of its shape with as many pixels as a frame."""
    tall, wide = video.canonical.shape[1:]
    scale = min((video.size[0] * video.size[1] / (tall * wide)) ** 0.5, 1.0)
    return max(round(tall * scale), 1), max(round(wide * scale), 1)


def _channels(uv: np.ndarray, alpha: np.ndarray) -> dict[str, np.ndarray]:
    return {"R": uv[..., 0], "G": uv[..., 1], "B": np.zeros_like(alpha), "A": alpha}


def _sized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) in [0, 1] at another height and width, bilinear."""
    from PIL import Image

    values = np.asarray(mask, np.float32)
    if values.shape == tuple(size):
        return values
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _script(video: CanonicalVideo, first: int, size: tuple[int, int] | None) -> str:
    height, width = size or video.size
    tall, wide = video.canonical.shape[1:]
    clip = ScriptClip(width, height, wide, tall, first, first + video.num_frames - 1, video.fps)
    return clip_script(clip, "canonical.exr", "stmap.%04d.exr", "stmap_inverse.%04d.exr")
