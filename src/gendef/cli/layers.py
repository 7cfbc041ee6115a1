"""The option --layer of commands that take clips."""

from gendef.errors import InputError
from gendef.video.base import Video


def chosen_layer(clip: Video, layer: int | None, frame: int | None) -> int:
    """The number of the layer whose canonical image is meant, 0 by default.

    Raises:
        InputError: there is no such layer, or --frame says that what was given lies on a frame.
    """
    if layer is not None and frame is not None:
        raise InputError("on a frame, each pixel belongs to the layer that shows there: leave --layer out")
    return clip.checked_layer(layer or 0)
