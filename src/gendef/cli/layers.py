"""The option --layer of the commands that work on clips with layers."""

from gendef.errors import InputError
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import LayeredVideo


def chosen_layer(clip: CanonicalVideo | LayeredVideo, layer: int | None, frame: int | None) -> int:
    """The number of the layer that --layer names, 0 where it does not.

    Raises:
        InputError: the clip has no such layer, or no layers, or the layer follows from --frame.
    """
    if layer is None:
        return 0
    if not isinstance(clip, LayeredVideo):
        raise InputError("--layer is for clips with layers, and this clip has one canonical image only")
    if frame is not None:
        raise InputError("--layer names a canonical image: on a frame each place belongs to the layer that shows there")
    return clip.checked_layer(layer)
