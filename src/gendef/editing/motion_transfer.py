"""The same content with other motions (GenDeF, section 4.4)."""

from collections.abc import Sequence

from gendef.errors import InputError
from gendef.geometry import resize_field
from gendef.model.gendef import GenDeF
from gendef.video.canonical_video import CanonicalVideo

SAME_SHAPE = 0.02
"""Ratios of height to width that differ by less are taken for the same."""


def model_of(video: CanonicalVideo, name: str | None = None) -> GenDeF:
    """The model that made a video.

    Args:
        name: where the model is now; default what the video says it was made by.

    Raises:
        InputError: the video does not come from a model.
        ModelError: the model cannot be found.
    """
    name = name or video.info.get("model")
    if not name:
        raise InputError(
            "the clip does not say which model made it (it was fitted, or built by hand):"
            " take the motion of another clip instead (--motion-of CLIP)"
        )
    return GenDeF.from_pretrained(name)


def other_motions(video: CanonicalVideo, seeds: Sequence[int], model: str | None = None) -> list[CanonicalVideo]:
    """The content of a generated video, edited or not, with the motions of `seeds`.

    Raises:
        InputError: the video does not come from a model, or from another one.
        ModelError: the model cannot be found.
    """
    return model_of(video, model).sample_motions(video, seeds)


def with_motion_of(content: CanonicalVideo, motion: CanonicalVideo) -> CanonicalVideo:
    """The canonical image of one clip, moved by the field of another.

    Fields are in units of the image's sides, so sizes may differ: frames have the size of `motion` where that is of the
    canonical image's shape, and else the size of the canonical image, so that nothing is squeezed.
    """
    field, size = motion.deformation, content.canonical.shape[1:]
    if abs(size[0] * field.shape[2] / (size[1] * field.shape[1]) - 1) > SAME_SHAPE:
        field = resize_field(field, size)
    info = {"content": content.info, "motion": motion.info}
    return CanonicalVideo(content.canonical, field, motion.fps, info=info)
