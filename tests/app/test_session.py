"""Visitors' state, uploads and drawings, without a browser."""

import base64
import gc
import io
import time

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.app.session import MAX_VERSIONS, AppState
from gendef.errors import DataError, InputError
from gendef.media.video_writer import write_video

pytest.importorskip("gradio", reason="gradio is not installed (extra app)")


REPORT = {"psnr": 30.0, "seconds": 1.0, "warnings": []}


@pytest.fixture
def app_state(tmp_path):
    return AppState(tmp_path / "app", ["sky"])


def clip(value=0.0):
    return CanonicalVideo(torch.full((3, 16, 16), value), torch.zeros(2, 16, 16, 2))


def test_edits_are_kept_and_undone(app_state):
    session = app_state.session()
    with pytest.raises(InputError, match="no clip yet"):
        _ = session.current
    first, second, third = clip(0.0), clip(0.1), clip(0.2)
    session.begin(first, "first")
    session.keep(second)
    session.edited = third  # strokes that are not finished
    assert session.undo() and session.current is second
    session.edited = third
    session.finish()
    assert session.versions == [first, second, third]
    assert session.undo() and session.undo() and session.current is first and not session.undo()
    for _ in range(MAX_VERSIONS + 5):
        session.keep(clip())
    assert len(session.versions) == MAX_VERSIONS + 1 and session.original is first


def test_files_are_private_replaced_and_removed(app_state):
    one, two = app_state.session(), app_state.session()
    old = one.file("clip.mp4")
    old.write_text("old")
    new = one.file("clip.mp4")
    assert not old.exists() and new.parent.parent == one.folder and two.folder != one.folder
    two.file("clip.mp4").write_text("two")
    app_state.end(one)
    assert not one.folder.exists() and two.folder.exists()
    folder = two.folder
    del two  # as when the server drops the visitor who was away longest
    gc.collect()
    assert not folder.exists()


def test_models_are_those_that_were_offered(app_state):
    with pytest.raises(InputError, match="no model '/etc' here; one of: sky"), app_state.model("/etc"):
        pass


def test_uploads_are_looked_at_first(tmp_path, monkeypatch):
    from gendef.app import fit_tab as own_video

    frames = [np.full((32, 48, 3), value, np.uint8) for value in range(0, 250, 25)]
    write_video(tmp_path / "a.mp4", frames, 5, enlarge=False)
    facts = own_video.examined(tmp_path / "a.mp4")
    assert (facts.width, facts.height, facts.fps, facts.frames) == (48, 32, 5, 10)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"text\.mp4 is not a video"):
        own_video.examined(tmp_path / "text.mp4")
    (tmp_path / "a.mp4").rename(tmp_path / "a.exe")
    with pytest.raises(InputError, match=r"a\.exe .* mp4"):
        own_video.examined(tmp_path / "a.exe")
    (tmp_path / "a.exe").rename(tmp_path / "a.mp4")
    monkeypatch.setattr(own_video, "MAX_SECONDS", 1)
    with pytest.raises(InputError, match="2 s long: at most 1 s"):
        own_video.examined(tmp_path / "a.mp4")
    monkeypatch.setattr(own_video, "MAX_SIDE", 40)
    with pytest.raises(InputError, match="48x32: at most 40"):
        own_video.examined(tmp_path / "a.mp4")


def test_a_fit_can_be_cancelled(monkeypatch):
    from gendef import fitting
    from gendef.app.fit_job import FitJob
    from gendef.fitting import FitOptions, Progress

    steps = []

    def slow_fit(path, options, on_progress, scenes):
        for step in range(1000):
            steps.append(step)
            on_progress(Progress("fitting", step / 1000))
            time.sleep(0.01)

    monkeypatch.setattr(fitting, "fit_scenes", slow_fit)
    job = FitJob("a.mp4", FitOptions())
    for progress in job.progress():
        assert progress.stage == "fitting"
        job.cancel()
    assert job.cancelled and len(steps) < 1000


def test_a_failed_fit_says_why(monkeypatch):
    from gendef import fitting
    from gendef.app.fit_job import FitJob
    from gendef.fitting import FitOptions

    def broken_fit(path, options, on_progress, scenes):
        raise DataError("the file ends early")

    monkeypatch.setattr(fitting, "fit_scenes", broken_fit)
    with pytest.raises(DataError, match="ends early"):
        list(FitJob("a.mp4", FitOptions()).progress())


def test_the_app_fits_with_the_options_of_the_command(app_state, monkeypatch, tmp_path):
    import gradio as gr

    from gendef import fitting
    from gendef.app.fit_tab import FitTab
    from gendef.cli.fit_arguments import Arguments

    used = []

    def recorded(path, options, on_progress, scenes):
        used.append(options)
        return [CanonicalVideo(torch.zeros(3, 16, 16), torch.zeros(2, 16, 16, 2), report=REPORT)]

    monkeypatch.setattr(fitting, "fit_scenes", recorded)
    video = tmp_path / "long.mp4"
    write_video(video, [np.full((16, 16, 3), 1, np.uint8)] * 131, 25, enlarge=False)
    with gr.Blocks():
        tab = FitTab(app_state, gr.State())
    *_, last = tab.fit(None, str(video), 0, 130, 128, 60)
    assert last[0].current.report == REPORT
    (options,) = used
    assert options == Arguments(video, size=128, frames=130, budget="60s").fit_options()


def test_drawings_from_the_browser():
    from gendef.app.edit_tab import PNG_URL, _decoded

    picture = np.zeros((8, 9, 4), np.uint8)
    picture[2, 3] = (1, 2, 3, 255)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    assert (_decoded(PNG_URL + base64.b64encode(file.getvalue()).decode()) == picture).all()
    for wrong in ("", "http://example.org/a.png", PNG_URL + "!!!", PNG_URL + base64.b64encode(b"GIF89a").decode()):
        with pytest.raises(InputError, match="PNG"):
            _decoded(wrong)


@pytest.mark.parametrize("value", [None, "3", 2.5, True, -1, 11])
def test_numbers_from_the_page_are_checked(value):
    from gendef.app.common import parse_int

    assert parse_int(7.0, "the frame", 0, 10) == 7
    with pytest.raises(InputError, match="the frame must be"):
        parse_int(value, "the frame", 0, 10)
