"""The tab that tracks points and segments objects."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from gendef.app.common import CANVAS, MAX_FRAMES, VIEW, enlarged, error_handler, parse_int, place_picture, shown
from gendef.app.session import AppState, Session
from gendef.errors import InputError
from gendef.media.images import to_uint8
from gendef.media.video_writer import write_video

CANONICAL, FRAME = "Canonical image", "A frame"
POINTS, CLICK, BOX = "Points", "Object: click on it", "Object: two corners of a box"
MAX_POINTS = 200
NOTHING = "Nothing is followed yet: click on the picture."
SPOT, NEARLY_ALL = 0.005, 0.9
"""Shares of the image below and above which a mask is probably wrong."""


class FollowTab:
    """Shows trails or masks over the video for clicks on an image."""

    def __init__(self, app_state: AppState, state: gr.State) -> None:
        self.app_state, self.state = app_state, state
        gr.Markdown("Click on **points** to see their trails, or on an **object** to see its mask move with it.")
        with gr.Row():
            with gr.Column(min_width=280):
                self.mode = gr.Radio([POINTS, CLICK, BOX], value=POINTS, label="What to follow")
                with gr.Row():
                    self.place = gr.Radio([FRAME, CANONICAL], value=FRAME, label="Click on", min_width=200)
                    self.frame = gr.Slider(0, MAX_FRAMES - 1, 0, step=1, label="Frame", min_width=140)
                self.picture = gr.Image(
                    label="Click on this picture",
                    alt_text="The picture to click on; without a mouse, give x and y below",
                    format="png",
                    interactive=False,
                    elem_id="click-here",
                    buttons=["fullscreen"],
                )
                with gr.Accordion("Without a mouse", open=False), gr.Row(equal_height=True):
                    self.x = gr.Number(0, label="x in pixels", min_width=90)
                    self.y = gr.Number(0, label="y in pixels", min_width=90)
                    self.add = gr.Button("Add", min_width=90)
                self.clear = gr.Button("Start again", elem_id="clear-clicks")
            with gr.Column(min_width=280):
                self.video = gr.Video(
                    label="Followed", autoplay=True, loop=True, elem_id="followed", buttons=["download"]
                )
                self.note = gr.Markdown(NOTHING, elem_id="follow-note")
                self.make = gr.Button("Make a zip of tracks (CSV) and masks (PNG)", elem_id="make-tracks")
                self.made = gr.File(label="Your file", visible=False, elem_id="made-tracks")
        click = [state, self.mode, self.place, self.frame]
        result = [state, self.picture, self.video, self.note]
        again = [*result, self.frame]
        turn: dict[str, Any] = {"concurrency_id": "compute"}
        followed = [
            self.picture.select(error_handler(self.click), click, result, api_visibility="private", **turn),
            self.add.click(error_handler(self.at), [*click, self.x, self.y], result, api_name="follow", **turn),
        ]
        for event in (self.mode.input, self.place.input, self.frame.release, self.clear.click):
            followed.append(event(error_handler(self.start_again), click, again, api_visibility="private"))
        for event in followed:
            # A file that was made belongs to what was followed before.
            event.success(_put_away, None, self.made, api_visibility="private", queue=False)
        self.make.click(error_handler(self.export), state, [state, self.made], api_name="tracks").success(
            shown, None, self.made, api_visibility="private", queue=False
        )
        self.refreshed = [self.frame, self.picture, self.video, self.note, self.made]

    def refresh(self, session: Session, place: str) -> tuple[Any, ...]:
        """The tab for a new clip."""
        session.forget_clicks()
        count = session.current.num_frames
        picture = place_picture(session.current, 0 if place == FRAME else None)
        hidden = gr.update(value=None, visible=False)
        return gr.update(maximum=count - 1, value=0), picture, None, NOTHING, hidden

    def start_again(self, session: Session | None, mode: str, place: str, frame: float) -> tuple[Any, ...]:
        """Delete the clicks and show the image to click on."""
        session = session or self.app_state.session()
        session.forget_clicks()
        number = _number(session, place, frame)
        picture = place_picture(session.current, number)
        return session, picture, None, NOTHING, gr.update(visible=number is not None)

    def click(
        self, session: Session | None, mode: str, place: str, frame: float, event: gr.SelectData
    ) -> tuple[Any, ...]:
        """A click, in pixels of the enlarged picture."""
        session = session or self.app_state.session()
        size = _size(session, _number(session, place, frame))
        factor = enlarged(size, CANVAS)[0] / size[0]
        x, y = ((value + 0.5) / factor - 0.5 for value in event.index)
        return self.at(session, mode, place, frame, x, y)

    def at(self, session: Session | None, mode: str, place: str, frame: float, x: float, y: float) -> tuple[Any, ...]:
        """Track one more point, or segment the object at it; x and y in pixels of the frame or the canonical image."""
        session = session or self.app_state.session()
        number = _number(session, place, frame)
        if mode not in (POINTS, CLICK, BOX):
            raise InputError(f"follow {POINTS!r}, {CLICK!r} or {BOX!r}, not {mode!r}")
        if len(session.points) >= MAX_POINTS:
            raise InputError(f"{MAX_POINTS} points are followed at most: start again, or use gendef track")
        if x is None or y is None:
            raise InputError("give x and y")
        if (mode, number) != session.target:
            session.forget_clicks()
        points = [*session.points, (float(x), float(y))]
        if mode == POINTS:
            result = self._points(session, number, points)
        elif mode == CLICK:
            result = self._object(session, number, {"clicks": points})
        elif len(points) % 2:
            points = points[-1:]
            result = _marked(session, number, points), gr.skip(), "Now click on the opposite corner."
        else:
            (left, right), (top, bottom) = (sorted(values) for values in zip(*points, strict=True))
            result = self._object(session, number, {"box": (left, top, right, bottom)})
            points = []
        session.points, session.target = points, (mode, number)
        return session, *result

    def _points(self, session: Session, number: int | None, points: list[tuple[float, float]]) -> tuple[Any, ...]:
        from gendef.visualization.track_files import drawn_tracks

        video = session.current
        tracks = video.track(points, number)
        session.tracks, session.masks = tracks, None
        path = session.file("followed.mp4")
        write_video(path, drawn_tracks(video, tracks), video.fps)
        share, many = float(tracks.visible.float().mean()), "s" if len(points) > 1 else ""
        note = f"{len(points)} point{many} followed; seen in {100 * share:.0f} % of the frames."
        return _marked(session, number, points), str(path), note

    def _object(self, session: Session, number: int | None, marks: dict[str, Any]) -> tuple[Any, ...]:
        import torch

        from gendef.visualization.overlays import draw_labels
        from gendef.visualization.segment_files import drawn_masks

        video = session.current
        size = _size(session, number)
        mask = torch.from_numpy(_mask(_picture(session, number, enlarged(size, VIEW)), size, marks))
        masks = video.segment(mask, number)
        session.masks = masks, video.canonical_labels(mask, number)
        session.tracks = None
        path = session.file("followed.mp4")
        write_video(path, drawn_masks(video, masks, enlarged(video.size, VIEW)), video.fps)
        note = (
            f"The object covers {100 * float(masks.float().mean()):.1f} % of the video. {_advice(mask.numpy(), marks)}"
        )
        return draw_labels(place_picture(video, number), mask.numpy()), str(path), note

    def export(self, session: Session | None) -> tuple[Any, ...]:
        """A zip with tracks.csv and what belongs to it, or with one PNG mask for each frame."""
        from gendef.visualization.segment_files import write_masks
        from gendef.visualization.track_files import write_tracks

        session = session or self.app_state.session()
        if session.tracks is None and session.masks is None:
            raise InputError("nothing is followed yet: click on the picture first")
        path = session.file("followed.zip")
        if session.tracks is not None:
            write_tracks(session.current, session.tracks, path.parent / "tracks")
        if session.masks is not None:
            write_masks(session.current, *session.masks, path.parent / "object")
        _zip_folder(path)
        return session, str(path)


def _put_away() -> Any:
    return gr.update(value=None, visible=False)


def _zip_folder(path: Path) -> None:
    """All files beside `path` as a zip at `path`."""
    files = sorted(file for file in path.parent.rglob("*") if file.is_file())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(path.parent))


def _number(session: Session, place: str, frame: float) -> int | None:
    if place not in (CANONICAL, FRAME):
        raise InputError(f"click on {CANONICAL!r} or {FRAME!r}, not {place!r}")
    return parse_int(frame, "the frame", 0, session.current.num_frames - 1) if place == FRAME else None


def _size(session: Session, number: int | None) -> tuple[int, int]:
    return session.current.size if number is not None else session.current.layers[0].canonical_size


def _picture(session: Session, number: int | None, size: tuple[int, int]) -> np.ndarray:
    """A frame or the canonical image of the layer at the back, uint8, at another size."""
    from gendef.media.images import resized

    if number is None:
        return to_uint8(resized(session.current.canonical_images[0][1], size))
    return to_uint8(session.current.render(size, [number]))[0]


def _mask(picture: np.ndarray, size: tuple[int, int], marks: dict[str, Any]) -> np.ndarray:
    """The marked object, bool, at a frame's own size.

    It is segmented in an enlarged image: at 64 pixels a click covers a pixel or two, and so would the mask.
    """
    from gendef.correspondence.prompt_segmentation import mask_from_prompts

    factor = picture.shape[0] / size[0]

    def large(values: Sequence[float]) -> list[float]:
        return [(value + 0.5) * factor - 0.5 for value in values]

    clicks, box = [large(point) for point in marks.get("clicks", ())], marks.get("box")
    found = Image.fromarray(mask_from_prompts(picture, clicks, box and large(box)).astype(np.float32))
    mask = np.asarray(found.resize(size[::-1], Image.Resampling.BOX)) > 0.5
    if not mask.any():
        raise InputError("no object was found there: click into its middle, or mark two corners of a box around it")
    return mask


def _advice(mask: np.ndarray, marks: dict[str, Any]) -> str:
    """A suggestion for a mask that is probably wrong."""
    if mask.mean() < SPOT:
        return "That is no more than a spot, for nothing around has a clear edge: click on more of it, or try a box."
    if mask.mean() > NEARLY_ALL:
        return "That is nearly everything, for nothing there has a clear edge: start again with a box."
    return "Click on more of it where something is missing." if "clicks" in marks else ""


def _marked(session: Session, number: int | None, points: list[tuple[float, float]]) -> np.ndarray:
    """The picture to click on, with points."""
    from gendef.visualization.overlays import draw_tracks, point_colours

    picture, size = place_picture(session.current, number), _size(session, number)
    places = (np.array(points, float) + 0.5) * (picture.shape[0] / size[0]) - 0.5
    return draw_tracks(picture, places[:, None], np.ones((len(points), 1), bool), point_colours(places))
