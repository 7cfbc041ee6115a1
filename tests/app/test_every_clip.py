"""The app's tabs on clips of every kind."""

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gendef import load_clip

pytest.importorskip("gradio")


@pytest.fixture
def session(any_clip, tmp_path):
    from gendef.app.session import Session

    session = Session(tmp_path)
    session.begin(load_clip(any_clip), any_clip.name)
    return session


TAB = SimpleNamespace(app_state=None)


def url_of(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_painting_a_layer(session):
    from gendef.app.edit_tab import EditTab, _painter

    original, red = session.current, np.zeros((16, 16, 4), np.uint8)
    red[...] = (255, 0, 0, 255)
    layer = len(original.layers) - 1
    strokes = json.dumps({str(layer): url_of(red)}) if layer else url_of(red)
    EditTab.draw(TAB, session, strokes)
    painted = session.current.layers[layer].video.canonical
    assert (painted[0] == 1).all() and (painted[1:] == -1).all()
    assert EditTab.draw(TAB, session, "")[0].current is original
    assert f"id=&quot;image{layer}&quot;" in _painter(session)


def test_filters_undo_and_downloads(session):
    from gendef.app.edit_tab import FORMATS, EditTab

    before = session.current
    EditTab.put_look(SimpleNamespace(app_state=None, _page=lambda session: ()), session, "grey")
    for _, image in session.current.canonical_images:
        assert float((image[0] - image[1]).abs().max()) < 1e-4
    for kind in FORMATS:
        assert Path(EditTab.export(TAB, session, kind)[1]).stat().st_size > 100
    assert session.undo() and session.current is before


def test_field_and_tracks(session):
    from gendef.app.field_tab import FieldTab
    from gendef.app.track_tab import CANONICAL, CLICK, FRAME, POINTS, FollowTab

    frame, colours, arrows, grid, facts = FieldTab.show(TAB, session, session.current.num_frames - 1)
    assert frame.shape == colours.shape == arrows.shape == grid.shape and "folds" in facts
    follow = FollowTab.__new__(FollowTab)
    follow.app_state = None
    follow.at(session, POINTS, FRAME, 1, 5, 5)
    assert session.tracks.positions[0, 1].tolist() == [5, 5]
    follow.at(session, POINTS, CANONICAL, 0, 5, 5)
    session.masks = session.current.segment(np.ones(session.current.size, bool), 0), []
    assert CLICK and session.masks[0].shape[0] == session.current.num_frames
