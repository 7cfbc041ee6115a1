"""Other motions of an animated photograph."""

from typing import Any

import torch

from gendef.animation.animate import animate
from gendef.animation.scene import MOVING, STILL
from gendef.errors import InputError
from gendef.video.base import Video


def is_animated(video: Video) -> bool:
    """Whether `gendef.animate` made the clip."""
    return video.info.get("animated") is True


def animate_again(video: Video, seed: int, model: str | None = None) -> Video:
    """The first frame of an animated photograph, edited or not, with the motion of another seed.

    What moves, the arrows and the other settings stay. What a crop cut off is gone.

    Args:
        video: as `gendef.animate` made it.
        seed: of the motion.
        model: the motion prior, if it is found under another name or in another folder now.

    Raises:
        InputError: the clip was not made by `gendef.animate`, or does not say by which motion prior.
        ModelError: the motion prior is not found.
    """
    if not is_animated(video):
        raise InputError("the clip is no animated photograph: gendef.animate did not make it")
    name = model or video.info.get("model")
    if not name:
        raise InputError("the clip does not say by which motion prior it was made: name it with --model")
    settings: dict[str, Any] = dict(video.info["settings"])
    source = settings.pop("size")
    width, height = video.size[1] / source[1], video.size[0] / source[0]
    # The first frame has the clip's size, the arrows are in pixels of the photograph.
    scale = [width, height, width, height]
    offset = [0.5 * side - 0.5 for side in scale]
    settings["arrows"] = [
        [value * side + shift for value, side, shift in zip(arrow, scale, offset, strict=True)]
        for arrow in settings["arrows"]
    ]
    settings["border"] = "fill"
    return animate(
        video.render(frames=[0])[0],
        name,
        seed=seed,
        frames=video.num_frames,
        mask=_moving(video),
        fps=video.fps,
        **settings,
    )


def _moving(video: Video) -> torch.Tensor:
    """What moves in frame 0, (H, W) bool."""
    names = {layer.name: layer for layer in video.layers}
    if STILL not in names:
        return torch.ones(video.size, dtype=torch.bool)
    if names[STILL].alpha is None:
        return names[MOVING].opacity(0) >= 0.5
    # The soft outline belongs to what moves.
    return names[STILL].opacity(0) < 1
