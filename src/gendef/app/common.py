"""Helpers of the tabs: an error handler, and images and videos for the page."""

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from PIL import Image

from gendef.app.session import Session
from gendef.errors import GendefError, InputError
from gendef.media.images import to_uint8
from gendef.media.video_writer import write_video

if TYPE_CHECKING:
    from gendef.video.base import Video

VIEW = 256
"""Least shorter side of videos on the page, in pixels."""
MAX_FRAMES = 256
"""Frames of the longest clip. Sliders have this range until there is a clip; for API clients always."""
CANVAS = 512
"""Least shorter side of images to draw or click on, in pixels."""
_log = logging.getLogger("gendef.app")


def error_handler(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose `GendefError`s are shown on the page as one sentence; other errors go to the log."""

    def message(error: Exception) -> gr.Error:
        if isinstance(error, GendefError):
            text = str(error)
            return gr.Error(f"{text[:1].upper()}{text[1:]}.", duration=12)
        _log.exception("unforeseen error")
        return gr.Error("Something went wrong on the server; its log says more.", duration=12)

    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def stepping(*args: Any, **options: Any) -> Any:
            try:
                yield from function(*args, **options)
            except gr.Error:
                raise
            except Exception as error:
                raise message(error) from error

        return stepping

    @wraps(function)
    def calling(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except gr.Error:
            raise
        except Exception as error:
            raise message(error) from error

    return calling


def shown() -> Any:
    """Make a hidden component visible."""
    return gr.update(visible=True)


def parse_int(value: Any, name: str, least: int, most: int) -> int:
    """A whole number from an input of the page.

    Raises:
        InputError: empty, not whole, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise InputError(f"{name} must be a whole number, got {value!r}")
    if not least <= value <= most:
        raise InputError(f"{name} must be between {least} and {most}, got {value:g}")
    return int(value)


def enlarged(size: tuple[int, int], least: int) -> tuple[int, int]:
    """Height and width with the shorter side at least `least`, by a whole factor."""
    factor = -(-least // min(size))
    return size[0] * factor, size[1] * factor


def mp4(session: Session, video: "Video", name: str) -> str:
    """The video as a file for the page, enlarged smoothly where it is small."""
    path = session.file(name)
    video.to_mp4(path, enlarged(video.size, VIEW))
    return str(path)


def canonical_picture(video: "Video") -> np.ndarray:
    """The canonical image of the layer at the back, uint8, large enough to draw on."""
    from gendef.media.images import resized

    layer = video.layers[0]
    return to_uint8(resized(layer.video.canonical, enlarged(layer.canonical_size, CANVAS)))


def frame_picture(video: "Video", frame: int) -> np.ndarray:
    """A frame, uint8, large enough to draw on."""
    return to_uint8(video.render(enlarged(video.size, CANVAS), [frame]))[0]


def place_picture(video: "Video", frame: int | None) -> np.ndarray:
    """A frame, or the canonical image for None."""
    return canonical_picture(video) if frame is None else frame_picture(video, frame)


def field_mp4(session: Session, video: "Video") -> str:
    """The field in the usual colours, on one scale for the whole clip."""
    from gendef.visualization.drawing import field_pictures

    size = enlarged(video.size, VIEW)
    path = session.file("field.mp4")
    pictures = map(Image.fromarray, field_pictures(video.layers[0].video.deformation))
    frames = (np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC)) for picture in pictures)
    write_video(path, frames, video.fps)
    return str(path)
