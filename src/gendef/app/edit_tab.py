"""The tab that edits the canonical image, and the downloads."""

import base64
import binascii
import html
import io
import json
import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, UnidentifiedImageError

from gendef.app.common import error_handler, mp4, shown
from gendef.app.session import AppState, Session
from gendef.errors import InputError

FORMATS = ("mp4", "gif", "clip folder (zip)", "web page (html)")
MAX_PICTURE = 4096
"""Longest side of an uploaded picture that is used; larger ones are reduced."""
MAX_STROKES = 32 * 2**20
"""Characters of a drawing that the page may send."""
PNG_URL = "data:image/png;base64,"
EMPTY_PAINTER = "<p>The pictures to paint on appear here once there is a clip.</p>"
LISTENER = """
// The painter in its frame says how high it is and what was painted; the drawing goes on to the server. Where it has
// nothing to undo, the server has looks and pictures.
addEventListener("message", (event) => {
  const frame = document.querySelector("#painter iframe"), message = event.data?.gendef;
  if (!frame || event.source !== frame.contentWindow || !message) return;
  if (message.height) frame.style.height = message.height + "px";
  if (message.undo) document.querySelector("#undo-kept").click();
  if (message.strokes !== undefined) {
    props.value = message.strokes;
    trigger("input");
  }
});
"""
UNDO = """
() => document.querySelector("#painter iframe")?.contentWindow.postMessage({ gendef: "undo" }, location.origin)
"""


class EditTab:
    """Strokes, filters and pictures on one image; the video follows.

    Painting happens in the browser, in the page that `gendef export` writes, so that the video follows at once; the
    server gets the finished strokes for everything else.
    """

    def __init__(self, app_state: AppState, state: gr.State, tab: gr.Tab) -> None:
        from gendef.editing.filters import FILTERS

        self.app_state, self.state = app_state, state
        gr.Markdown("Paint on the **canonical image** or on any frame of the video: all frames follow.")
        self.painter = gr.HTML(EMPTY_PAINTER, elem_id="painter", padding=False)
        self.strokes = gr.HTML("", html_template="<span></span>", js_on_load=LISTENER, visible="hidden")
        with gr.Row():
            with gr.Column(scale=2, min_width=280), gr.Row():
                self.after = gr.Video(
                    label="Edited", autoplay=True, loop=True, elem_id="after", min_width=130, buttons=["download"]
                )
                self.before = gr.Video(
                    label="Original", autoplay=True, loop=True, elem_id="before", min_width=130, buttons=[]
                )
            with gr.Column(scale=2, min_width=280):
                with gr.Row():
                    undo = gr.Button("Undo", elem_id="undo-edit", min_width=140)
                    self.undo = gr.Button("Undo a look or a picture", elem_id="undo-kept", visible="hidden")
                    self.reset = gr.Button("Back to the original", elem_id="reset", min_width=140)
                with gr.Accordion("A picture edited elsewhere, or a look", open=False, elem_id="elsewhere"):
                    self.upload = gr.Image(
                        label="Edited canonical image (PNG, JPEG, WebP)",
                        type="filepath",
                        image_mode=None,
                        sources=["upload", "clipboard"],
                        height=180,
                        elem_id="edited-picture",
                    )
                    with gr.Row(equal_height=True):
                        self.look = gr.Dropdown(list(FILTERS), value="sepia", label="Look", min_width=120)
                        self.apply = gr.Button("Apply the look", min_width=120, elem_id="apply-look")
                self.format = gr.Radio(FORMATS, value=FORMATS[0], label="Download as")
                self.make = gr.Button("Make the file", elem_id="make-file")
                self.made = gr.File(label="Your file", visible=False, elem_id="made-file")
        lay = error_handler(self.lay_sheet), state, [state, self.painter]
        tab.select(*lay, api_visibility="private", show_progress_on=self.painter)
        undo.click(None, js=UNDO, api_visibility="private")
        # Edits change one clip one after the other, in the order in which they came.
        turn: dict[str, Any] = {"concurrency_id": "edit", "concurrency_limit": 1}
        self.drawn = self.strokes.input(
            error_handler(self.draw),
            [state, self.strokes],
            [state, self.after],
            api_name="draw",
            trigger_mode="always_last",
            show_progress="hidden",
            **turn,
        )
        page = [state, self.after]
        self.edits = [
            self.upload.upload(error_handler(self.put_picture), [state, self.upload], page, api_name="edit", **turn),
            self.apply.click(error_handler(self.put_look), [state, self.look], page, api_name="look", **turn),
            self.undo.click(error_handler(self.take_back), state, page, api_name="undo", **turn),
            self.reset.click(error_handler(self.start_over), state, page, api_name="reset", **turn),
        ]
        for event in self.edits:
            event.success(*lay, api_visibility="private", show_progress="hidden")
        self.make.click(
            error_handler(self.export), [state, self.format], [state, self.made], api_name="download"
        ).success(shown, None, self.made, api_visibility="private", queue=False)
        self.refreshed = [self.before, self.after, self.upload, self.made]

    def refresh(self, session: Session) -> tuple[Any, ...]:
        """The tab for a new clip."""
        before = session.file_of_original
        return before, before, gr.update(value=None), gr.update(value=None, visible=False)

    def lay_sheet(self, session: Session | None) -> tuple[Any, ...]:
        """Show the clip in the painter when the tab is opened, unless the painter shows it already."""
        if session is None or not session.versions or session.sheet_laid:
            return session, gr.skip()
        session.sheet_laid = True
        return session, _painter(session)

    def draw(self, session: Session | None, strokes: str) -> tuple[Any, ...]:
        """Strokes on the canonical image, in the place of those sent before.

        A PNG with alpha as data URL; for a clip of several layers an object of them in JSON, by the layer's number.
        """
        from gendef.editing.edit import overlay
        from gendef.editing.layers import carry_edit

        session = session or self.app_state.session()
        below = session.versions[-1] if session.versions else session.original
        edited = below
        for layer, drawing in _drawings(strokes).items():
            edited = carry_edit(edited, below.checked_layer(layer), overlay(edited.layers[layer].video, drawing))
        session.edited = edited
        return session, mp4(session, session.edited, "after.mp4")

    def put_picture(self, session: Session | None, path: str | None) -> tuple[Any, ...]:
        """A picture in the place of the canonical image (of the layer at the back); where transparent, that shows."""
        from gendef.editing.edit import edit_canonical
        from gendef.editing.layers import carry_edit
        from gendef.media.images import read_image

        session = session or self.app_state.session()
        if path is None:
            raise InputError("choose a picture first")
        picture = read_image(path)
        picture.thumbnail((MAX_PICTURE, MAX_PICTURE))
        session.finish()
        changed = edit_canonical(session.current.layers[0].video, picture)
        session.keep(carry_edit(session.current, 0, changed))
        return self._page(session)

    def put_look(self, session: Session | None, name: str) -> tuple[Any, ...]:
        """A built-in filter on the canonical images."""
        from gendef.editing.edit import apply_filter

        session = session or self.app_state.session()
        session.finish()
        video = session.current
        for number, layer in enumerate(video.layers):
            video = video.with_layer(number, apply_filter(layer.video, name))
        session.keep(video)
        return self._page(session)

    def take_back(self, session: Session | None) -> tuple[Any, ...]:
        """Undo all strokes since the last edit, or that edit."""
        session = session or self.app_state.session()
        if not session.undo():
            gr.Info("There is nothing to undo.", duration=4)
            return session, gr.skip()
        return self._page(session)

    def start_over(self, session: Session | None) -> tuple[Any, ...]:
        """Go back to the unedited clip; this can be undone too."""
        session = session or self.app_state.session()
        session.finish()
        session.keep(session.original)
        return self._page(session)

    def export(self, session: Session | None, kind: str) -> tuple[Any, ...]:
        """A file of the edited clip: mp4, gif, clip folder (zip) or web page (html)."""
        session = session or self.app_state.session()
        video = session.current
        if kind == FORMATS[0]:
            path = session.file("edited.mp4")
            video.to_mp4(path)
        elif kind == FORMATS[1]:
            path = session.file("edited.gif")
            video.to_gif(path)
        elif kind == FORMATS[2]:
            path = _zipped_clip(session)
        elif kind == FORMATS[3]:
            from gendef.visualization.html_export import page_html

            path = session.file("clip.html")
            path.write_text(page_html(video, session.encoded_field(), session.title), encoding="utf-8")
        else:
            raise InputError(f"there is no format {kind!r}; one of: {', '.join(FORMATS)}")
        return session, str(path)

    def _page(self, session: Session) -> tuple[Any, ...]:
        session.sheet_laid = False
        return session, mp4(session, session.current, "after.mp4")


def _painter(session: Session) -> str:
    """The painter in a frame, on the last version that was kept."""
    from gendef.visualization.html_export import page_html

    page = page_html(session.versions[-1], session.encoded_field(), session.title, embedded=True)
    return (
        '<iframe title="Paint on the canonical image or on a frame" style="width: 100%; height: 900px; border: 0" '
        f'srcdoc="{html.escape(page)}"></iframe>'
    )


def _drawings(strokes: str) -> dict[int, np.ndarray]:
    """Drawings from the browser as RGBA, by the layer's number; see `EditTab.draw`.

    Raises:
        InputError: not of that form.
    """
    if not strokes:
        return {}
    if not strokes.startswith("{"):
        return {0: _decoded(strokes)}
    try:
        urls = {int(number): str(url) for number, url in json.loads(strokes).items()}
    except (ValueError, RecursionError):
        raise InputError("strokes must be a PNG as data URL, or an object of them in JSON by layer") from None
    return {number: _decoded(url) for number, url in urls.items()}


def _decoded(url: str) -> np.ndarray:
    """A drawing from the browser as RGBA."""
    if not url.startswith(PNG_URL) or len(url) > MAX_STROKES:
        raise InputError("strokes must be a PNG as data URL")
    try:
        with Image.open(io.BytesIO(base64.b64decode(url[len(PNG_URL) :], validate=True)), formats=["PNG"]) as image:
            if max(image.size) > MAX_PICTURE:
                raise InputError(f"a drawing may have {MAX_PICTURE} pixels a side, got {image.width}x{image.height}")
            return np.asarray(image.convert("RGBA"))
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("the strokes are not a readable PNG") from error


def _zipped_clip(session: Session) -> Path:
    """The clip folder as a zip."""
    path = session.file("clip.zip")
    folder = path.parent / "clip"
    session.current.save(folder)
    shutil.make_archive(str(path.with_suffix("")), "zip", path.parent, "clip")
    shutil.rmtree(folder)
    return path
