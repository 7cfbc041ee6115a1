"""The same content with other motions (GenDeF, section 4.4): from the model that made it, or of another clip."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import resize_field
from gendef.media.images import resized
from gendef.model.gendef import GenDeF
from gendef.video.base import Video
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.label_transfer import canonical_labels, segment
from gendef.video.layer import SHOWN, Layer
from gendef.video.layered_video import LayeredVideo, to_alpha

SAME_SHAPE = 0.02
"""Ratios of height to width that differ by less are taken for the same."""


def model_of(video: Video, name: str | None = None) -> GenDeF:
    """The model that made a video.

    Args:
        name: where the model is now; default what the video says it was made by.

    Raises:
        InputError: the video does not come from a model, or has several layers.
        ModelError: the model cannot be found.
    """
    name = name or video.info.get("model")
    if not name or len(video.layers) > 1:
        raise InputError(
            "the clip was not made by a model, which alone could give its content other motions: take the motion of "
            "another clip instead (--motion-of CLIP)"
        )
    return GenDeF.from_pretrained(name)


def other_motions(video: Video, seeds: Sequence[int], model: str | None = None) -> list[CanonicalVideo]:
    """The content of a generated video, edited or not, with the motions of `seeds`.

    Raises:
        InputError: the video does not come from a model, or from another one.
        ModelError: the model cannot be found.
    """
    return model_of(video, model).sample_motions(video.layers[0].video, seeds)


def with_motion_of(content: Video, motion: Video) -> Video:
    """The canonical images of one clip, moved by the fields of another.

    - One field moves all: if `motion` has one layer, every layer of `content` gets its field, and its alpha is carried
      along (from the frame that shows most of the layer).
    - Layer by layer: otherwise the result has the layers of `motion`, each with its field, its frames and its alpha. It
      shows the canonical image of the layer of `content` that has the same name (and, of several of that name, the same
      place in time), or else the same number, or else is at the back.

    Fields are in units of the image's sides, so sizes may differ: frames have the size of `motion` where that is of the
    canonical image's shape, and else the size of the canonical image at the back, so that nothing is squeezed.
    """
    first = content.layers[0].canonical_size
    size, info = motion.size, {"content": content.info, "motion": motion.info}
    if abs(first[0] * size[1] / (first[1] * size[0]) - 1) > SAME_SHAPE:
        size = first
    if len(content.layers) == len(motion.layers) == 1:
        field = _of_size(motion.layers[0].video.deformation, size)
        return CanonicalVideo(content.layers[0].video.canonical, field, motion.fps, info=info)
    if len(motion.layers) == 1:
        field = _of_size(motion.layers[0].video.deformation, size)
        layers = [_moved(layer, field) for layer in content.layers]
    else:
        layers = []
        for number, layer in enumerate(motion.layers):
            video = CanonicalVideo(
                _counterpart(content, motion, number).video.canonical, _of_size(layer.video.deformation, size)
            )
            alpha = layer.alpha
            if alpha is not None and motion.size != size:
                alpha = torch.stack([to_alpha(resized(mask[None].float() / 255, size)[0]) for mask in alpha])
            layers.append(Layer(video, alpha, layer.start, layer.name))
    return LayeredVideo(layers, motion.fps, info=info)


def _of_size(field: Tensor, size: tuple[int, int]) -> Tensor:
    """A field (T, H, W, 2) for frames of another height and width."""
    return field if tuple(field.shape[1:3]) == size else resize_field(field, size)


def _counterpart(content: Video, motion: Video, number: int) -> Layer[CanonicalVideo]:
    """The layer of `content` with the name of a layer of `motion`, or else its number, or else at the back.

    Of several layers of that name, the one with the same place in time; the last one where there are fewer.
    """
    name = motion.layers[number].name
    named = content.parts(name)
    if named:
        return content.layers[named[min(motion.parts(name).index(number), len(named) - 1)]]
    return content.layers[number if number < len(content.layers) else 0]


def _moved(layer: Layer[CanonicalVideo], field: Tensor) -> Layer[CanonicalVideo]:
    """A layer under another field (T, H, W, 2): it shows the part of its canonical image that it showed at most."""
    alpha = None
    if layer.alpha is not None:
        shown = layer.alpha >= SHOWN * 255
        best = int(shown.flatten(1).sum(dim=1).argmax())
        plane = canonical_labels(layer.video.deformation, shown[best], layer.canonical_size, best)
        alpha = to_alpha(segment(field, plane, layer.canonical_size))
    return Layer(CanonicalVideo(layer.video.canonical, field), alpha, 0, layer.name)
