"""The tab that fits a visitor's own video."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from gendef.app.common import VIEW, enlarged, error_handler, mp4, parse_int
from gendef.app.fit_job import FitJob
from gendef.app.session import AppState, Session
from gendef.errors import DataError, InputError
from gendef.fitting.options import FitOptions
from gendef.media.images import to_uint8

if TYPE_CHECKING:
    from gendef.video.base import Video

TYPES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".gif")
MAX_SECONDS = 300
LONGEST_CLIP = 150
SIZES = (128, 192, 256)
LONGEST_FIT = 900
"""Seconds a fit may take."""
MAX_SIDE = 4096


@dataclass(frozen=True)
class VideoFacts:
    """Properties of an uploaded video."""

    width: int
    height: int
    fps: float
    seconds: float

    @property
    def frames(self) -> int:
        """Number of frames, about."""
        return max(round(self.seconds * self.fps), 1)


def examined(path: str | Path) -> VideoFacts:
    """Check an uploaded file before any processing.

    Raises:
        DataError: it is no video.
        InputError: its type is not accepted, or it is too long or too large.
    """
    import av

    path = Path(path)
    if path.suffix.lower() not in TYPES:
        raise InputError(f"{path.name} is not of an accepted type: {', '.join(kind[1:] for kind in TYPES)}")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frame = next(container.decode(stream))
            fps = float(stream.average_rate or stream.guessed_rate or 25)
            seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            seconds = seconds or (container.duration or 0) / 1e6 or stream.frames / fps
    except (av.FFmpegError, IndexError, StopIteration, ValueError, OSError) as error:
        raise DataError(f"{path.name} is not a video that can be read") from error
    if max(frame.width, frame.height) > MAX_SIDE:
        raise InputError(f"the video is {frame.width}x{frame.height}: at most {MAX_SIDE} pixels per side are accepted")
    if seconds > MAX_SECONDS:
        raise InputError(f"the video is {seconds:.0f} s long: at most {MAX_SECONDS} s are accepted; cut it first")
    return VideoFacts(frame.width, frame.height, fps, seconds)


class FitTab:
    """Fits an uploaded video: shows the canonical image while it improves, then the fitted clip."""

    def __init__(self, app_state: AppState, state: gr.State) -> None:
        self.app_state, self.state = app_state, state
        gr.Markdown(
            f"Bring a video ({', '.join(kind[1:] for kind in TYPES)}; up to {MAX_SECONDS // 60} minutes). "
            "A few seconds of it become **one image and its motion**, which you can then edit and track."
        )
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                self.upload = gr.File(label="Your video", file_types=["video", *TYPES], elem_id="own-file", height=140)
                self.start = gr.Slider(0, MAX_SECONDS, 0, step=0.1, label="Start, in seconds")
                self.frames = gr.Slider(2, LONGEST_CLIP, 48, step=1, label="Length in frames")
                self.size = gr.Radio(SIZES, value=SIZES[1], label="Shorter side in pixels")
                self.budget = gr.Slider(
                    5, LONGEST_FIT, 60, step=5, label="Time to spend, in seconds", info="More gives a better fit"
                )
                self.light = gr.Checkbox(
                    False, label="The light changes", info="Finds the brightness of every frame apart from the image"
                )
                with gr.Row():
                    self.run = gr.Button("Fit my video", variant="primary", elem_id="fit", min_width=120)
                    self.stop = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel", min_width=120)
            with gr.Column(scale=2, min_width=280):
                self.note = gr.Markdown("No video yet: choose a file.", elem_id="fit-note")
                self.preview = gr.Image(
                    label="Canonical image so far",
                    alt_text="The canonical image of your video as the fit improves it",
                    format="jpeg",
                    interactive=False,
                    buttons=["fullscreen"],
                )
                self.video = gr.Video(
                    label="Fitted video", autoplay=True, loop=True, elem_id="fitted", buttons=["download"]
                )
        self.upload.upload(
            error_handler(self.look),
            self.upload,
            [self.note, self.preview, self.start, self.frames],
            api_visibility="private",
        )
        self.fitted = self.run.click(
            error_handler(self.fit),
            [state, self.upload, self.start, self.frames, self.size, self.budget, self.light],
            [state, self.note, self.preview, self.video, self.run, self.stop],
            api_name="fit",
            concurrency_limit=1,
            concurrency_id="fit",
            show_progress_on=self.note,
        )
        self.fitted.failure(_ready, None, [self.run, self.stop], api_visibility="private", queue=False)
        self.stop.click(error_handler(self.cancel), state, self.stop, api_visibility="private", queue=False)

    def look(self, path: str | None) -> tuple[Any, ...]:
        """Facts and the first picture of an uploaded file."""
        if path is None:
            return "No video yet: choose a file.", None, gr.update(), gr.update()
        facts = examined(path)
        note = (
            f"**{Path(path).name}**: {facts.width}x{facts.height}, {facts.seconds:.1f} s at {facts.fps:.3g} frames a "
            "second. Choose start and length, then fit."
        )
        latest = math.floor(10 * max(facts.seconds - 2 / facts.fps, 0)) / 10
        most = min(facts.frames, LONGEST_CLIP)
        return (
            note,
            _first_frame(path),
            gr.update(maximum=max(latest, 0.1), value=0),
            gr.update(maximum=max(most, 2), value=min(48, most)),
        )

    def fit(
        self,
        session: Session | None,
        path: str | None,
        start: float,
        frames: float,
        size: float,
        budget: float,
        light: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        """Fit a video; yields intermediate results, then the fitted clip."""
        session = session or self.app_state.session()
        if path is None:
            raise InputError("choose a video first")
        facts = examined(path)
        count = parse_int(frames, "the length", 2, LONGEST_CLIP)
        side = parse_int(size, "the shorter side", 16, max(SIZES))
        if not 0 <= start < max(facts.seconds, 0.001):
            raise InputError(f"the start must be between 0 and {facts.seconds:.1f} s, got {start}")
        if not 1 <= budget <= LONGEST_FIT:
            raise InputError(f"the time must be between 1 and {LONGEST_FIT} s, got {budget}")
        begin = round(start * facts.fps)
        options = FitOptions(
            size=side,
            start=begin,
            frames=count,
            budget=float(budget),
            illumination=light,
        )
        job = FitJob(path, options)
        session.job = job
        try:
            yield (
                session,
                "Reading the video…",
                gr.skip(),
                None,
                gr.update(interactive=False),
                gr.update(interactive=True),
            )
            for report in job.progress():
                progress(report.done, desc=report.stage)
                quality = f", {report.psnr:.1f} dB" if math.isfinite(report.psnr) else ""
                picture = gr.skip() if report.canonical is None else _picture(report.canonical)
                yield (
                    session,
                    f"Fitting, {report.done:.0%}: {report.stage}{quality}",
                    picture,
                    gr.skip(),
                    gr.skip(),
                    gr.skip(),
                )
            if job.cancelled:
                yield session, "Cancelled. Your clip is what it was before.", gr.skip(), None, *_ready()
                return
            video = job.result()
            session.begin(video, f"{Path(path).name}, from frame {begin}")
            session.file_of_original = mp4(session, video, "clip.mp4")
            yield session, _summary(video), _picture(video.canonical_images[0][1]), session.file_of_original, *_ready()
        finally:
            job.cancel()

    def cancel(self, session: Session | None) -> Any:
        """End the fit that runs."""
        if session is not None and session.job is not None:
            session.job.cancel()
        return gr.update(interactive=False)


def _ready() -> tuple[Any, Any]:
    return gr.update(interactive=True), gr.update(interactive=False)


def _summary(video: "Video") -> str:
    report = video.report
    lines = [f"**Done** in {report['seconds']:.0f} s: the fitted video is {report['psnr']:.1f} dB (PSNR) from yours."]
    if "psnr_without_illumination" in report:
        lines.append(f"Without the illumination it would be {report['psnr_without_illumination']:.1f} dB.")
    lines += [f"{text[:1].upper()}{text[1:]}." for text in report["warnings"]]
    return " ".join(lines)


def _picture(canonical: Any) -> np.ndarray:
    from gendef.media.images import resized

    tall, wide = canonical.shape[1:]
    return to_uint8(resized(canonical, enlarged((tall, wide), VIEW)))


def _first_frame(path: str) -> Any:
    import av

    with av.open(path) as container:
        return next(container.decode(video=0)).to_image()
