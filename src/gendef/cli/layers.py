"""The option --layer of commands that take clips."""

from gendef.errors import InputError
from gendef.video.base import Video


def chosen_layer(clip: Video, layer: int | None, frame: int | None) -> int:
    """The number of the layer chosen by --layer, 0 by default.

    Raises:
        InputError: there is no such layer, or --layer is combined with --frame.
    """
    if layer is not None and frame is not None:
        raise InputError("on a frame, each pixel belongs to the layer that is visible there: leave --layer out")
    return clip.checked_layer(layer or 0)
