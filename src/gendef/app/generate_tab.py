"""The tab that generates clips."""

import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from gendef.app.common import MAX_FRAMES, VIEW, canonical_picture, enlarged, error_handler, field_mp4, mp4, parse_int
from gendef.app.session import AppState, Session
from gendef.errors import InputError
from gendef.media.images import to_uint8
from gendef.media.video_writer import write_video

if TYPE_CHECKING:
    from gendef.video.canonical_video import CanonicalVideo

MAX_SEED = 99_999
MOTIONS, TABLE = 6, 4
TABLE_FRAMES = 48


class GenerateTab:
    """Generates a video from model, seeds and length; shows canonical image and field."""

    def __init__(self, app_state: AppState, state: gr.State) -> None:
        self.app_state, self.state = app_state, state
        gr.Markdown("Roll the dice: one seed decides **what** is seen, the other **how it moves**.")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                self.model = gr.Dropdown(app_state.models, value=app_state.models[0], label="Model")
                self.content, roll_content = _seed("Content seed", "content-seed")
                self.motion, roll_motion = _seed("Motion seed", "motion-seed")
                self.frames = gr.Slider(1, MAX_FRAMES, 64, step=1, label="Length in frames")
                self.truncation = gr.Slider(
                    0, 1.5, 1, step=0.05, label="Variety", info="Less gives cleaner and more alike videos (truncation)"
                )
                self.slow = gr.Slider(
                    1, 8, 1, step=0.5, label="Slow motion", info="Times slower, with true in-betweens"
                )
                self.run = gr.Button("Generate", variant="primary", elem_id="generate")
            with gr.Column(scale=2, min_width=280, elem_id="result"):
                self.video = gr.Video(
                    label="Video", autoplay=True, loop=True, elem_id="generated", buttons=["download"]
                )
            with gr.Column(scale=1, min_width=200):
                self.canonical = gr.Image(
                    label="Canonical image",
                    alt_text="The canonical image: everything the video shows, without its motion",
                    format="png",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                )
                self.field = gr.Video(label="Field: where each pixel looks", autoplay=True, loop=True, buttons=[])
        with gr.Row():
            self.more = gr.Button("Other motions of this content", elem_id="motions")
            self.table = gr.Button("Table of contents and motions", elem_id="table")
        # The table has captions of its own, which the block's label would cover.
        self.caption = gr.Markdown(visible=False)
        self.gallery = gr.Video(
            label="Table of videos",
            show_label=False,
            autoplay=True,
            loop=True,
            visible=False,
            elem_id="gallery",
            buttons=[],
        )
        controls = [self.model, self.content, self.motion, self.frames, self.truncation, self.slow]
        table = [self.caption, self.gallery]
        self.results = [state, self.video, self.canonical, self.field]
        roll_content.click(_roll, None, self.content, api_visibility="private", queue=False)
        roll_motion.click(_roll, None, self.motion, api_visibility="private", queue=False)
        self.generated = self.run.click(
            error_handler(self.generate),
            [state, *controls],
            self.results,
            api_name="generate",
            concurrency_id="compute",
        )
        more = self.more.click(
            error_handler(self.other_motions), state, [state, *table], api_name="motions", concurrency_id="compute"
        )
        table_made = self.table.click(
            error_handler(self.seed_table),
            [state, self.model, self.content, self.motion, self.truncation],
            [state, *table],
            api_name="table",
            concurrency_id="compute",
        )
        for event in (more, table_made):
            event.success(_shown, None, table, api_visibility="private", queue=False)
        self.generated.success(_hidden, None, table, api_visibility="private", queue=False)
        self.controls = controls

    def generate(
        self,
        session: Session | None,
        model: str,
        content: float,
        motion: float,
        frames: float,
        truncation: float,
        slow: float,
    ) -> tuple[Any, ...]:
        """Video, canonical image and field of two seeds; the video becomes the visitor's clip."""
        import torch

        count = parse_int(frames, "the length", 1, MAX_FRAMES)
        seeds = {
            "content_seed": parse_int(content, "the content seed", 0, MAX_SEED),
            "motion_seed": parse_int(motion, "the motion seed", 0, MAX_SEED),
        }
        if not 1 <= slow <= 100:
            raise InputError(f"slow motion must be between 1 and 100 times, got {slow}")
        session = session or self.app_state.session()
        with self.app_state.model(model) as network:
            video = network.sample(times=torch.arange(count) / slow, truncation=truncation, **seeds)
        session.begin(video, f"{model}, content {seeds['content_seed']}, motion {seeds['motion_seed']}")
        session.file_of_original = mp4(session, video, "clip.mp4")
        return (
            session,
            session.file_of_original,
            canonical_picture(video),
            field_mp4(session, video),
        )

    def other_motions(self, session: Session | None) -> tuple[Any, ...]:
        """The clip's content, edited or not, with other motions, playing together."""
        if session is None:
            session = self.app_state.session()
        video = session.current
        if "content_seed" not in video.info or len(video.layers) > 1:
            raise InputError("other motions need a clip that a model made, and this one comes from a video")
        seed = int(video.info.get("motion_seed", 0))
        seeds = list(range(seed + 1, seed + 1 + MOTIONS))
        with self.app_state.model(str(video.info.get("model"))) as network:
            others = network.sample_motions(video.layers[0].video, seeds)
        path = session.file("motions.mp4")
        write_video(path, _table(others, [f"motion {seed}" for seed in seeds], MOTIONS // 2), video.fps)
        caption = f"The same content with motions {seeds[0]} to {seeds[-1]}; set the motion seed to take one."
        return session, caption, str(path)

    def seed_table(
        self,
        session: Session | None,
        model: str,
        content: float,
        motion: float,
        truncation: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """A row for each content, a column for each motion."""
        first = parse_int(content, "the content seed", 0, MAX_SEED)
        second = parse_int(motion, "the motion seed", 0, MAX_SEED)
        session = session or self.app_state.session()
        pairs = [(first + row, second + column) for row in range(TABLE) for column in range(TABLE)]
        clips = []
        for one, other in progress.tqdm(pairs, desc="generating"):
            with self.app_state.model(model) as network:
                clips.append(
                    network.sample(num_frames=TABLE_FRAMES, content_seed=one, motion_seed=other, truncation=truncation)
                )
        path = session.file("table.mp4")
        write_video(path, _table(clips, [f"content {a}, motion {b}" for a, b in pairs], TABLE), clips[0].fps)
        caption = "Every row has one content, every column one motion."
        return session, caption, str(path)


def _seed(label: str, name: str) -> tuple[gr.Number, gr.Button]:
    with gr.Row(equal_height=True):
        number = gr.Number(0, label=label, precision=0, minimum=0, maximum=MAX_SEED, min_width=120, elem_id=name)
        return number, gr.Button("⚄ Roll", min_width=96, scale=0, size="md", elem_id=f"{name}-roll")


def _shown() -> tuple[Any, Any]:
    return gr.update(visible=True), gr.update(visible=True)


def _hidden() -> tuple[Any, Any]:
    return gr.update(visible=False), gr.update(value=None, visible=False)


def _roll() -> int:
    return secrets.randbelow(MAX_SEED + 1)


def _table(clips: Sequence["CanonicalVideo"], captions: Sequence[str], columns: int) -> Iterator[np.ndarray]:
    """Frames of clips in a table, each below its caption."""
    from gendef.visualization.drawing import contact_sheet

    size = enlarged(clips[0].size, VIEW // 2)
    pictures = [to_uint8(clip.render(size)) for clip in clips]
    for frame in range(len(pictures[0])):
        rows = []
        for start in range(0, len(clips), columns):
            row = [clip[frame] for clip in pictures[start : start + columns]]
            rows.append(contact_sheet([row], 4, column_labels=captions[start : start + columns], text_size=12))
        yield np.concatenate(rows)
