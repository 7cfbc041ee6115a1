import numpy as np
import pytest
import torch

from gendef import CanonicalVideo
from gendef.errors import InputError
from gendef.media.flow_files import read_flo
from gendef.visualization.flow import (
    flow_scale,
    write_flow,
)


@pytest.fixture
def sliding():
    """Content of 32x24 that moves 1.5 pixels to the right a frame, over an image twice as fine."""
    field = torch.zeros(4, 24, 32, 2)
    for t in range(4):
        field[t, ..., 0] = -2 * 1.5 * t / 32
    return CanonicalVideo(torch.rand(3, 48, 64) * 2 - 1, field, 10)


def test_single_pairs_are_the_whole(sliding):
    for kind in ("image", "canonical"):
        flows = torch.stack(list(sliding.iter_flow(kind)))
        torch.testing.assert_close(flows, sliding.flow(kind), equal_nan=True)
    assert flow_scale(sliding, "image") == pytest.approx(1.5, abs=0.01)
    assert flow_scale(sliding, "canonical") == pytest.approx(3.0, abs=0.01)


def test_flo_files(sliding, tmp_path):
    pairs = []
    summary = write_flow(sliding, tmp_path / "flow", "image", "flo", lambda: pairs.append(1))
    names = sorted(path.name for path in (tmp_path / "flow").iterdir())
    assert names == ["flow.mp4", "flow_000000.flo", "flow_000001.flo", "flow_000002.flo"] and len(pairs) == 3
    flow = read_flo(tmp_path / "flow" / "flow_000001.flo")
    np.testing.assert_allclose(flow[:, :30], np.broadcast_to([1.5, 0], (24, 30, 2)), atol=1e-3)
    assert np.isnan(flow[:, -1]).all()
    assert summary["mean_speed"] == pytest.approx(1.5, abs=1e-3)
    assert summary["known"] == pytest.approx(31 / 32, abs=0.04)


def test_npz_takes_the_place_of_flo_files(sliding, tmp_path):
    write_flow(sliding, tmp_path / "flow", "canonical", "flo")
    (tmp_path / "flow" / "notes.txt").write_text("precious")
    write_flow(sliding, tmp_path / "flow", "canonical", "npz")
    assert sorted(path.name for path in (tmp_path / "flow").iterdir()) == ["flow.mp4", "flow.npz", "notes.txt"]
    with np.load(tmp_path / "flow" / "flow.npz") as archive:
        np.testing.assert_allclose(archive["flow"], np.broadcast_to([-3.0, 0], (3, 24, 32, 2)), atol=1e-4)


def test_still_clips_have_no_flow_but_a_drawing(tmp_path):
    still = CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8, 2))
    assert write_flow(still, tmp_path, "image", "flo") == {"mean_speed": 0, "largest_speed": 0, "known": 1}
    assert (tmp_path / "flow.mp4").stat().st_size > 100


def test_bad_input_and_failures_leave_nothing(sliding, tmp_path, monkeypatch):
    single = CanonicalVideo(sliding.canonical, sliding.deformation[:1])
    with pytest.raises(InputError, match="one"):
        write_flow(single, tmp_path / "flow", "image", "flo")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file, not a folder"):
        write_flow(sliding, tmp_path / "file", "image", "flo")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gendef.visualization.flow.write_flo", fail)
    with pytest.raises(OSError, match="No space"):
        write_flow(sliding, tmp_path / "flow", "image", "flo")
    assert list((tmp_path / "flow").iterdir()) == []
