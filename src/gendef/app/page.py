"""The page: a line about the current clip, and the tabs that work on it."""

from typing import Any

import gradio as gr

from gendef.app.common import error_handler
from gendef.app.edit_tab import EditTab
from gendef.app.field_tab import FieldTab
from gendef.app.fit_tab import FitTab
from gendef.app.generate_tab import GenerateTab
from gendef.app.session import AppState, Session
from gendef.app.track_tab import FollowTab

WAITING = 20
"""Requests that may wait; further ones are asked to try again later."""
SESSION_SECONDS = 3600
"""Inactive time after which a visitor's state is deleted."""
CACHE_SECONDS = (600, SESSION_SECONDS)
"""Seconds between deletions of old files, and their minimum age."""
INTRODUCTION = (
    "# gendef\n"
    "A video is **one still image that moves**. Generate a clip or bring your own, paint on its one image, "
    "follow what it shows."
)

# System fonts: Gradio's default fonts are loaded from another server.
FONT, MONO = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
STYLE = """
.gradio-container, .gradio-container main { max-width: 1240px !important; width: 100%; margin: 0 auto !important; }
#clip-line { min-height: 1.6em; }
#gallery { max-width: 760px; }
footer .divider { display: none; }
:focus-visible { outline: 3px solid #e8a317 !important; outline-offset: 2px; }
@media (max-width: 480px) {
  .gradio-container { padding: 8px !important; }
  #page-title h1 { font-size: 1.5rem; }
  /* What was made comes before the controls, so that a telephone shows it at once. */
  #result { order: -1; }
}
"""
# Videos get the names of their blocks for screen readers; Gradio writes the names beside them only.
HEAD = """
<script>
function nameVideos() {
  for (const video of document.querySelectorAll("video:not([aria-label])")) {
    const label = video.closest(".block")?.querySelector("[data-testid='block-label']");
    video.setAttribute("aria-label", label?.textContent.trim() || "Table of videos");
  }
}
new MutationObserver(nameVideos).observe(document.documentElement, { childList: true, subtree: true });
</script>
"""


def theme() -> gr.themes.Base:
    """Colours and fonts of the page; no font is loaded from another server."""
    # Darker than usual: white text on the usual shade of sky is hard to read.
    return gr.themes.Default(primary_hue="sky", neutral_hue="slate", font=FONT, font_mono=MONO).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        slider_color="*primary_700",
        checkbox_background_color_selected="*primary_700",
        checkbox_border_color_selected="*primary_700",
    )


def build(app_state: AppState) -> gr.Blocks:
    """The page with all its events."""
    with gr.Blocks(title="gendef", analytics_enabled=False, delete_cache=CACHE_SECONDS) as page:
        state = gr.State(None, time_to_live=SESSION_SECONDS, delete_callback=app_state.end)
        gr.Markdown(INTRODUCTION, elem_id="page-title")
        line = gr.Markdown("A first clip is being made…", elem_id="clip-line")
        with gr.Tabs():
            with gr.Tab("Generate", id="generate"):
                generate = GenerateTab(app_state, state)
            with gr.Tab("My video", id="own"):
                own = FitTab(app_state, state)
            with gr.Tab("Edit", id="edit") as edit_tab:
                edit = EditTab(app_state, state, edit_tab)
            with gr.Tab("Track and segment", id="follow"):
                follow = FollowTab(app_state, state)
            with gr.Tab("Under the hood", id="hood") as hood_tab:
                hood = FieldTab(app_state, state, hood_tab)

        def clip_changed(session: Session, follow_place: str) -> tuple[Any, ...]:
            return (
                _line(session),
                *edit.refresh(session),
                *follow.refresh(session, follow_place),
                *hood.refresh(session),
            )

        def edited(session: Session, follow_place: str) -> tuple[Any, ...]:
            return _line(session), *follow.refresh(session, follow_place)

        opened = page.load(
            error_handler(generate.generate),
            [state, *generate.controls],
            generate.results,
            api_visibility="private",
            concurrency_id="compute",
        )
        opened.failure(lambda: "No clip yet.", None, line, api_visibility="private", queue=False)
        for event in (opened, generate.generated, own.fitted):
            event.success(
                error_handler(clip_changed),
                [state, follow.place],
                [line, *edit.refreshed, *follow.refreshed, *hood.refreshed],
                api_visibility="private",
                show_progress="hidden",
            )
        for event in (*edit.edits, edit.drawn):
            event.success(
                error_handler(edited),
                [state, follow.place],
                [line, *follow.refreshed],
                api_visibility="private",
                show_progress="hidden",
            )
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    return page


def _line(session: Session) -> str:
    """Description of the current clip."""
    video = session.current
    (height, width), edits = video.size, len(session.versions) - 1
    change = f", {edits} edit{'s' if edits > 1 else ''}" if edits else ""
    return (
        f"**Your clip**: {session.title}. {video.num_frames} frames of {width}x{height}, "
        f"{video.fps:g} frames a second{change}."
    )
