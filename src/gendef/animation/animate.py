"""A photograph that moves: `gendef.animate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gendef._version import __version__
from gendef.animation.controls import Arrow, constraints_of, parse_direction, pulled, read_arrows, turned
from gendef.animation.inpainting import Inpainter, fill
from gendef.animation.key_fields import KeyFields
from gendef.animation.loop import passes
from gendef.animation.matte import moving_matte, read_mask, refined
from gendef.animation.photograph import Photograph, read_photograph
from gendef.animation.prior import MotionPrior
from gendef.animation.scene import Moved, build, moving_nodes
from gendef.animation.smooth_fields import node_counts, unfolded
from gendef.errors import InputError
from gendef.media.frame_times import checked_fps
from gendef.media.images import read_image, to_uint8
from gendef.video.canonical_video import CanonicalVideo
from gendef.video.layered_video import LayeredVideo

MOST_FRAMES = 10_000
Border = Literal["fill", "crop"]


def animate(
    image: Any,
    model: str | Path | MotionPrior = "sky",
    *,
    seed: int = 0,
    frames: int = 64,
    mask: Any = None,
    arrows: Sequence[Sequence[float]] = (),
    loop: bool = False,
    size: int | None = None,
    still: Any = None,
    in_front: bool = False,
    strength: float = 1.0,
    speed: float = 1.0,
    direction: str | float | None = None,
    fps: float | None = None,
    border: Border = "fill",
    label: str | None = None,
    inpaint: Inpainter = fill,
) -> CanonicalVideo | LayeredVideo:
    """Make a photograph move, with motion learned from real videos.

    ```python
    video = gendef.animate("photo.jpg", model="sky", seed=3, loop=True)
    video.to_mp4("photo.mp4")
    ```

    Frame 0 is the photograph (with `border="crop"` its middle part). What stands still is a layer of its own, the same
    in all frames.

    Args:
        image: a file, or a PIL image, array or tensor as for `CanonicalVideo`. What is transparent lies on white.
        model: a motion prior: a built-in one, its folder, or the object.
        seed: of the motion.
        frames: of the video.
        mask: what moves: a file, picture or array of the photograph's shape. Default: what the prior expects to move.
        arrows: (x0, y0, x1, y1) in pixels of the photograph, top-left pixel 0, 0: what is at the first point in
            frame 0 arrives at the second in the last frame.
        loop: end where the video begins. Two passes of the motion fade into each other.
        size: pixels of the shorter side; default the photograph's own size, reduced to 3840x2160 pixels if larger.
        still: what stands still in any case, as `mask`.
        in_front: what moves is an object before the rest, whose outline moves along. Default: it lies behind what
            stands still, like a sky behind houses, and its outline stands still.
        strength: factor on the distances that the prior's motion covers; 0 is the still photograph.
        speed: of the motion's course; 2 shows it twice as fast.
        direction: where the motion goes on average: right, up, left, down, or degrees from the right over the top.
        fps: frames a second; default the prior's. More of them show the same motion in finer steps.
        border: what comes in from beyond the border is filled in, or the picture is cropped to where nothing does.
        label: domain of a prior of several; default the prior's own.
        inpaint: fills in what was hidden: (uint8 (H, W, 3), bool (H, W) unknown) -> uint8 (H, W, 3).

    Returns:
        A `CanonicalVideo` if everything moves, otherwise a `LayeredVideo`. `report["warnings"]` holds what the user
        must know.

    Raises:
        InputError: the photograph, a mask, an arrow or a number cannot be used, or nothing in the photograph moves.
        ModelError: there is no such motion prior.
        MissingDependencyError: OpenCV or the weights of EfficientNet-Lite0 are not installed.
    """
    _check(frames=frames, strength=strength, speed=speed, border=border, seed=seed)
    prior = model if isinstance(model, MotionPrior) else MotionPrior.from_pretrained(model)
    rate = checked_fps(prior.fps if fps is None else fps)
    photograph = read_photograph(image, size)
    wanted = read_arrows(arrows, photograph.source_size)
    step = speed * prior.fps / rate
    runs = passes(frames, step, loop=loop)
    last = (frames if loop else max(frames - 1, 1)) * step
    first = -last if loop else 0.0
    constraints = [] if direction is not None else constraints_of(wanted, prior.key_times, first, last)
    motion = prior.sample_range(
        photograph.image, seed, first, last, strength=strength, constraints=constraints, label=label
    )
    moving = _moving(photograph, motion, mask, still)
    if direction is not None:
        motion = turned(motion, parse_direction(direction), moving, photograph.size)
    counts = node_counts(photograph.size)
    shown = moving_nodes(moving.float(), counts)
    moved = [
        Moved(_fields(motion, run.times, wanted, shown, photograph.size, last), run.shares.float()) for run in runs
    ]
    settings = {
        "strength": strength,
        "speed": speed,
        "loop": loop,
        "arrows": [list(map(float, arrow)) for arrow in arrows],
        "direction": direction,
        "in_front": in_front,
        "border": border,
        "label": label,
        "size": list(photograph.source_size),
    }
    info = {
        "made_by": f"gendef {__version__}",
        "animated": True,
        "model": str(model) if isinstance(model, (str, Path)) else None,
        "source": str(image) if isinstance(image, (str, Path)) else None,
        "motion_seed": seed,
        "settings": settings,
    }
    return build(
        photograph.image,
        moving,
        moved,
        counts,
        fps=rate,
        in_front=in_front,
        crop=border == "crop",
        inpaint=inpaint,
        info=info,
        report={"warnings": list(photograph.notes)},
    )


def _check(*, frames: int, strength: float, speed: float, border: str, seed: int) -> None:
    if not 1 <= frames <= MOST_FRAMES:
        raise InputError(f"frames must be between 1 and {MOST_FRAMES}, got {frames}")
    if not 0 <= strength <= 100:
        raise InputError(f"strength must be between 0 and 100, got {strength}: direction turns the motion round")
    if not 0 < speed <= 100:
        raise InputError(f"speed must be above 0 and at most 100, got {speed}")
    if border not in ("fill", "crop"):
        raise InputError(f"border must be fill or crop, got {border!r}")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be between 0 and 2**63 - 1, got {seed}")


def _moving(photograph: Photograph, motion: KeyFields, mask: Any, still: Any) -> Tensor:
    """What moves, (H, W) bool at the size of the video.

    Raises:
        InputError: a mask cannot be used, or nothing moves.
    """
    if mask is not None:
        moving = refined(to_uint8(photograph.image), read_mask(_opened(mask), photograph.size, "the mask"))
    else:
        moving = moving_matte(to_uint8(photograph.image), motion.moving)
        if not moving.any():
            raise InputError("the motion prior finds nothing in the photograph that could move: mark it with a mask")
    if still is not None:
        moving = moving & ~read_mask(_opened(still), photograph.size, "the mask of what stands still")
        if not moving.any():
            raise InputError("nothing is left that moves: the mask of what stands still covers all of it")
    return moving


def _opened(mask: Any) -> Any:
    return read_image(mask) if isinstance(mask, (str, Path)) else mask


def _fields(
    motion: KeyFields, times: Tensor, arrows: Sequence[Arrow], shown: Tensor, size: Sequence[int], last: float
) -> Tensor:
    """Fields (T, h, w, 2) of the frames at `times` (T,)."""
    fields = motion.at(times.clamp(float(motion.times[0]), float(motion.times[-1])))
    return pulled(unfolded(fields, shown, size), arrows, (times / last).float())
