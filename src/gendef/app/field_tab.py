"""The tab that shows the field: as colours, as arrows, as a deformed grid."""

from typing import Any

import gradio as gr
import numpy as np

from gendef.app.common import CANVAS, MAX_FRAMES, enlarged, error_handler, parse_int
from gendef.app.session import AppState, Session
from gendef.media.images import to_uint8

LABELS = ("Frame", "Field in colours", "Arrows: where each pixel looks", "Grid of the canonical image, bent")
ALTS = (
    "The chosen frame",
    "The deformation field: hue is direction, saturation is distance",
    "The chosen frame with arrows along the deformation field",
    "The chosen frame with the straight grid of the canonical image as the field bends it",
)


class FieldTab:
    """One frame of the clip and its field."""

    def __init__(self, app_state: AppState, state: gr.State, tab: gr.Tab) -> None:
        self.app_state, self.state = app_state, state
        gr.Markdown(
            "For every pixel of every frame, the **deformation field** says where in the canonical image to look. "
            "Colours: hue is direction, saturation is distance; white stays where it is."
        )
        self.time = gr.Slider(0, MAX_FRAMES - 1, 0, step=1, label="Frame", elem_id="hood-time")
        pictures = []
        for row in (0, 2):
            with gr.Row():
                for i in (row, row + 1):
                    picture = gr.Image(
                        label=LABELS[i], alt_text=ALTS[i], format="png", interactive=False, min_width=260, buttons=[]
                    )
                    pictures.append(picture)
        self.facts = gr.Markdown("")
        self.refreshed = [self.time]
        results = [*pictures, self.facts]
        self.time.input(
            error_handler(self.show),
            [state, self.time],
            results,
            api_name="field",
            trigger_mode="always_last",
            show_progress="hidden",
        )
        tab.select(
            error_handler(self.open), [state, self.time], results, api_visibility="private", show_progress="minimal"
        )

    def show(self, session: Session | None, time: float) -> tuple[Any, ...]:
        """Frame, field in colours, arrows, bent grid and a line of facts for one frame.

        Of several layers, the field is that of the first one, from the back, that has the frame.
        """
        from gendef.geometry import folded_share, identity_grid, resize_field
        from gendef.video.flow import field_scale
        from gendef.visualization.drawing import (
            bent_grid,
            draw_arrows,
            flow_colours,
            flow_legend,
        )

        video = (session or self.app_state.session()).current
        number = parse_int(time, "the frame", 0, video.num_frames - 1)
        size = enlarged(video.size, CANVAS)
        layer = next(layer for layer in video.layers if layer.start <= number < layer.end)
        field = layer.video.deformation[number - layer.start : number - layer.start + 1]
        large = resize_field(field, size)[0]
        offset = large.numpy() * np.array([size[1] / 2, size[0] / 2], np.float32)
        distance = np.linalg.norm(field[0].numpy() * np.array([video.size[1] / 2, video.size[0] / 2]), axis=-1)
        frame = to_uint8(video.render(size, [number]))[0]
        colours = flow_colours(offset, field_scale(layer.video.deformation) * size[0] / video.size[0])
        legend = flow_legend(min(size) // 6)
        corner = colours[-legend.shape[0] - 8 : -8, -legend.shape[1] - 8 : -8]
        y, x = np.mgrid[: legend.shape[0], : legend.shape[1]] * 2 / legend.shape[0] - 1
        corner[np.hypot(x, y) < 1] = legend[np.hypot(x, y) < 1]
        faded = np.uint8(255 - 0.5 * (255 - frame.astype(float)))
        grid = bent_grid((identity_grid(*size) + large).numpy(), faded, thickness=max(min(size) / 256, 1.2))
        folded = 100 * folded_share(field)
        facts = (
            f"Frame {number}: offsets of {distance.mean():.1f} pixels on average and "
            f"{distance.max():.1f} at most; the field folds over itself in {folded:.2f} % of the frame."
        )
        return frame, colours, draw_arrows(frame, offset), grid, facts

    def open(self, session: Session | None, time: float) -> tuple[Any, ...]:
        """`show` for the tab when it is opened; empty while there is no clip."""
        if session is None or not session.versions:
            return (gr.skip(),) * (len(LABELS) + 1)
        return self.show(session, min(time, session.current.num_frames - 1))

    def refresh(self, session: Session) -> tuple[Any, ...]:
        """The tab for a new clip."""
        return (gr.update(maximum=session.current.num_frames - 1, value=0),)
