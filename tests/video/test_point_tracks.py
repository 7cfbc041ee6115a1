"""Tracks against motions whose inverse is known, against folds made on purpose, and against the frames themselves."""

import csv

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendef import CanonicalVideo
from gendef.errors import InputError
from gendef.geometry import identity_grid, jacobian_determinant, sample, to_normalised, to_pixels
from gendef.video.point_tracks import grid_points, local_area
from gendef.visualization.track_files import write_tracks

SIZE, FRAMES = (48, 64), 5
TIMES = torch.linspace(0, 1, FRAMES, dtype=torch.float64)


def look(kind, x, t):
    """Where frame position x (..., 2), normalised, looks at time t."""
    t = t[..., None]
    if kind == "translation":
        return x + t * torch.tensor([0.21, -0.13], dtype=x.dtype)
    if kind == "rotation":
        cos, sin = (0.7 * t).cos()[..., 0], (0.7 * t).sin()[..., 0]
        return torch.stack((cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]), dim=-1)
    if kind == "zoom":
        return x * (1 - 0.5 * t)
    return torch.stack((x[..., 0] + (0.12 * t * torch.sin(5 * x[..., 1:] + 2 * t))[..., 0], x[..., 1]), dim=-1)


def unlook(kind, y, t):
    if kind == "translation":
        return 2 * y - look(kind, y, t)
    if kind == "rotation":
        return look(kind, y, -t)
    if kind == "zoom":
        return y / (1 - 0.5 * t[..., None])
    return torch.stack((2 * y[..., 0] - look(kind, y, t)[..., 0], y[..., 1]), dim=-1)


def moving(kind, canonical_size=SIZE):
    grid = identity_grid(*SIZE, dtype=torch.float64)
    field = torch.stack([look(kind, grid, t.expand(SIZE)) - grid for t in TIMES])
    return CanonicalVideo(torch.rand(3, *canonical_size) * 2 - 1, field)


KINDS = ["translation", "rotation", "zoom", "wave"]


@pytest.mark.parametrize("frame", [None, 0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_known_motions_to_a_twentieth_of_a_pixel(kind, frame):
    video = moving(kind, (90, 140))
    size = SIZE if frame is not None else (90, 140)
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [size[1] - 1.0, size[0] - 1.0]
    )
    tracks = video.track(points, frame)
    place = to_normalised(points.double(), size)
    if frame is not None:
        place = look(kind, place, TIMES[frame].expand(200))
    truth = to_pixels(unlook(kind, place[:, None].expand(-1, FRAMES, -1), TIMES.expand(200, -1)), SIZE)
    far = torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
    inside, outside = ((truth > 0) & (truth < far)).all(-1), ((truth < -1.1) | (truth > far + 1.1)).any(-1)
    assert inside.float().mean() > 0.4
    # A field is a curve drawn by straight pieces: between its pixels, waves of this length differ by 0.03 pixels.
    assert (tracks.positions - truth)[inside].norm(dim=-1).max() <= 0.05
    assert tracks.visible[inside].all() and not tracks.visible[outside].any()
    assert tracks.residual[tracks.visible].max() < 0.01
    assert (tracks.canonical - to_pixels(place, (90, 140))).abs().max() < 0.05
    if frame is not None:
        torch.testing.assert_close(tracks.positions[:, frame], points)
        assert (tracks.residual[:, frame] == 0).all()


@given(st.integers(0, 10_000), st.floats(0.0, 2.5))
@settings(max_examples=25, deadline=None)
def test_visible_points_show_their_content(seed, strength):
    """Whatever the field: at a visible position the frame shows the canonical image at the point."""
    generator = torch.Generator().manual_seed(seed)
    coarse = (torch.rand(3, 2, 4, 5, generator=generator) - 0.5) * 2 * strength / 6
    field = torch.nn.functional.interpolate(coarse, size=(20, 24), mode="bicubic").movedim(1, -1)
    video = CanonicalVideo(torch.zeros(3, 20, 24), field)
    points = torch.rand(30, 2, generator=generator) * torch.tensor([23.0, 19.0])
    for frame in (None, 1):
        tracks = video.track(points, frame)
        where = to_normalised(tracks.positions, (20, 24)).transpose(0, 1)
        shown = where + sample(field.movedim(-1, 1), where).movedim(1, -1)
        error = (to_pixels(shown, (20, 24)) - tracks.canonical).norm(dim=-1).T
        assert (error[tracks.visible] <= 0.06).all()
        assert (local_area(field, tracks.positions)[tracks.visible] > 0).all()


def test_invisible_where_the_field_folds():
    """A frame whose left half is turned over: what it shows there, it shows the wrong way round."""
    grid = identity_grid(8, 16)
    folded = torch.zeros(8, 16, 2)
    folded[:, :8, 0] = -2 * (grid[:, :8, 0] + 0.5)
    video = CanonicalVideo(torch.zeros(3, 8, 16), torch.stack((torch.zeros(8, 16, 2), folded)))
    tracks = video.track([(1.0, 4.0), (12.0, 4.0)])
    torch.testing.assert_close(tracks.positions[:, 1], torch.tensor([[6.0, 4.0], [12.0, 4.0]]))
    assert tracks.visible.tolist() == [[True, False], [True, True]]
    assert video.track([(6.0, 4.0)], frame=1).visible.tolist() == [[True, False]]


def test_local_area_is_the_jacobian_in_each_cell():
    field = torch.randn(2, 6, 7, 2, generator=torch.Generator().manual_seed(0)) * 0.1
    y, x = torch.meshgrid(torch.arange(5), torch.arange(6), indexing="ij")
    nodes = torch.stack((x, y), dim=-1).reshape(-1, 1, 2).expand(-1, 2, -1).float()
    torch.testing.assert_close(local_area(field, nodes).T.reshape(2, 5, 6), jacobian_determinant(field))


def test_a_clip_that_knows_what_it_shows():
    video = CanonicalVideo(torch.zeros(3, 8, 8), torch.zeros(2, 8, 8, 2))
    video.visibility = torch.ones(2, 8, 8, dtype=torch.bool)
    video.visibility[1, 2, 5] = False
    tracks = video.track([(5.3, 1.6), (4.0, 2.0)])
    assert tracks.visible.tolist() == [[True, False], [True, True]]


def test_still_and_tiny_clips():
    for height, width in ((1, 1), (1, 5), (4, 1)):
        video = CanonicalVideo(torch.zeros(3, height, width), torch.zeros(2, height, width, 2))
        tracks = video.track([(width - 1, height - 1)], frame=1)
        assert tracks.positions.tolist() == [[[width - 1, height - 1]] * 2] and tracks.visible.all()


def test_grids_are_even():
    points = grid_points((64, 128), 2)
    assert points.tolist() == [[x, y] for y in (15.5, 47.5) for x in (15.5, 47.5, 79.5, 111.5)]
    with pytest.raises(InputError, match="1 to 64 points a side, got 65"):
        grid_points((64, 128), 65)


@pytest.mark.parametrize(
    ("points", "frame", "message"),
    [
        ([(1, 2, 3)], None, r"\(N, 2\).*\(1, 3\)"),
        ([], None, r"\(N, 2\)"),
        ("here", None, "must be numbers"),
        ([(float("nan"), 1)], None, "not finite"),
        ([(1, 1), (70.5, 3)], None, "the point 70.5,3 is outside the canonical image, which has 64x48 pixels"),
        ([(1, -2)], 2, "outside frame 2"),
        ([(1, 2)], 5, "between 0 and 4, got 5"),
    ],
)
def test_bad_points_are_named(points, frame, message):
    with pytest.raises(InputError, match=message):
        moving("translation").track(points, frame)


def test_files_hold_the_tracks(tmp_path):
    video = moving("rotation")
    tracks = video.track(grid_points(SIZE, 3))
    frames = []
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("precious")
    write_tracks(video, tracks, tmp_path / "out", lambda: frames.append(1))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["notes.txt", "tracks.csv", "tracks.mp4", "tracks.npz", "tracks.png"] and len(frames) == FRAMES
    with np.load(tmp_path / "out" / "tracks.npz") as archive:
        np.testing.assert_array_equal(archive["positions"], tracks.positions)
        np.testing.assert_array_equal(archive["visible"], tracks.visible)
        assert archive["size"].tolist() == list(SIZE)
    with (tmp_path / "out" / "tracks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(tracks) * FRAMES
    row = rows[1 * FRAMES + 4]
    assert (row["point"], row["frame"]) == ("1", "4")
    assert [float(row["x"]), float(row["y"])] == pytest.approx(tracks.positions[1, 4].tolist(), abs=1e-4)
    assert row["visible"] == str(int(tracks.visible[1, 4]))


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gendef.visualization.sheets.write_image", fail)
    video = moving("zoom")
    with pytest.raises(OSError, match="No space"):
        write_tracks(video, video.track([(3, 3)]), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file, not a folder"):
        write_tracks(video, video.track([(3, 3)]), tmp_path / "file")
