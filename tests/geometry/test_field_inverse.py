"""Inversion against motions whose inverse is known in closed form, and against brute force on fields that fold."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendef.errors import InputError
from gendef.geometry import identity_grid, image_flow, invert_near, invert_points, sample, to_normalised, to_pixels

SIZE, FRAMES = (96, 128), 7


def spin(points, angle):
    cos, sin = angle.cos(), angle.sin()
    x, y = points.unbind(-1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)


def motion(kind, x, t):
    """Normalised position in the canonical image of position x (..., 2) in the frame at time t in [0, 1]."""
    if kind == "translation":
        return x + t[..., None] * torch.tensor([0.21, -0.13], dtype=x.dtype)
    if kind == "rotation":
        return spin(x, 0.7 * t)
    if kind == "zoom":
        return x * (1 - 0.5 * t[..., None])
    # A shear that waves: its inverse is the shear back.
    return torch.stack((x[..., 0] + 0.12 * t * torch.sin(5 * x[..., 1] + 2 * t), x[..., 1]), dim=-1)


def inverse_motion(kind, y, t):
    if kind == "translation":
        return y - t[..., None] * torch.tensor([0.21, -0.13], dtype=y.dtype)
    if kind == "rotation":
        return spin(y, -0.7 * t)
    if kind == "zoom":
        return y / (1 - 0.5 * t[..., None])
    return torch.stack((y[..., 0] - 0.12 * t * torch.sin(5 * y[..., 1] + 2 * t), y[..., 1]), dim=-1)


def field_of(kind):
    grid = identity_grid(*SIZE, dtype=torch.float64)
    times = torch.linspace(0, 1, FRAMES, dtype=torch.float64)
    return torch.stack([motion(kind, grid, t.expand(SIZE)) - grid for t in times]).float(), times


KINDS = ["translation", "rotation", "zoom", "wave"]


@pytest.mark.parametrize("kind", KINDS)
def test_known_motions_are_inverted_to_a_twentieth_of_a_pixel(kind):
    field, times = field_of(kind)
    canonical_size = (200, 300)
    points = torch.rand(400, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([299.0, 199.0])
    result = invert_points(field, points, canonical_size)
    normalised = to_normalised(points.double(), canonical_size)[:, None].expand(-1, FRAMES, -1)
    truth = to_pixels(inverse_motion(kind, normalised, times.expand(400, -1)), SIZE).float()
    inside = ((truth > 0) & (truth < torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1.0]))).all(dim=-1)
    assert inside.float().mean() > 0.5
    assert result.valid[inside].all()
    assert (result.positions - truth)[inside].norm(dim=-1).max() <= 0.05
    assert not result.folded.any()
    outside = ((truth < -1) | (truth > torch.tensor([SIZE[1] * 1.0, SIZE[0] * 1.0]))).any(dim=-1)
    assert not result.valid[outside].any()
    assert result.residual[result.valid].max() < 0.01


def test_positions_outside_the_picture_follow_the_border():
    """A picture that moves out to the right: where its points are now is known though nobody sees them."""
    field = torch.zeros(3, 16, 20, 2)
    field[1, ..., 0], field[2, ..., 0] = -2 * 4 / 20, -2 * 8 / 20
    result = invert_points(field, torch.tensor([[15.0, 6.0]]))
    torch.testing.assert_close(result.positions[0], torch.tensor([[15.0, 6.0], [19.0, 6.0], [23.0, 6.0]]))
    assert result.valid.tolist() == [[True, True, False]]


@given(st.integers(0, 10_000), st.floats(0.0, 3.0))
@settings(max_examples=25, deadline=None)
def test_every_solution_of_rough_fields_is_found(seed, strength):
    """Whatever is looked up at a random place must be found again, at that place or, in a fold, at another one."""
    generator = torch.Generator().manual_seed(seed)
    field = strength * torch.randn(2, 9, 8, 2, generator=generator) / 8
    places = torch.rand(30, 2, generator=generator) * torch.tensor([7.0, 8.0])
    where = to_normalised(places, (9, 8))
    shown = where + sample(field[:1].movedim(-1, 1), where[None])[0].T
    result = invert_points(field, to_pixels(shown, (9, 8)), start=(0, places))
    assert result.valid[:, 0].all()
    torch.testing.assert_close(result.positions[:, 0], places, atol=0.02, rtol=0)
    assert (result.residual[result.valid] <= 0.05).all()


def fold():
    """x -> x + a sin(b x): shows the stretch around its centre three times."""
    grid = identity_grid(40, 60)
    offset = torch.stack((-0.25 * torch.sin(6 * grid[..., 0]), torch.zeros(40, 60)), dim=-1)
    return torch.stack((torch.zeros(40, 60, 2), 0.5 * offset, offset, 0.5 * offset, torch.zeros(40, 60, 2)))


def test_folds_are_flagged_and_the_place_next_to_the_last_one_is_taken():
    field = fold()
    points = torch.tensor([[29.5, 20.0], [3.0, 20.0]])
    result = invert_points(field, points)
    assert result.folded.tolist() == [[False, False, True, False, False], [False] * 5]
    line = identity_grid(40, 60)[20, :, 0]
    shown = to_pixels(torch.stack((line + field[2, 20, :, 0], torch.zeros(60)), dim=-1), (40, 60))[:, 0]
    crossings = ((shown[:-1] - 29.5) * (shown[1:] - 29.5) <= 0).sum()
    assert crossings == 3
    torch.testing.assert_close(result.positions[0, :, 0], torch.full((5,), 29.5), atol=0.05, rtol=0)


def test_start_decides_between_the_places_of_a_fold():
    field = fold()[2:3]
    targets = torch.full((3, 2), 29.5)
    targets[:, 1] = 20.0
    starts = torch.tensor([[14.0, 20.0], [29.0, 20.0], [46.0, 20.0]])
    result = invert_points(field, targets, start=(0, starts))
    assert result.folded.all()
    x = result.positions[:, 0, 0]
    assert x[0] < 25 and abs(x[1] - 29.5) < 0.05 and x[2] > 34
    assert x[0] + x[2] == pytest.approx(59, abs=0.02), "the fold is symmetric"
    assert result.residual.max() < 0.01


def test_points_of_their_own_for_every_frame():
    field = torch.zeros(2, 8, 8, 2)
    points = torch.tensor([[[1.0, 2.0], [5.0, 6.0]]])
    torch.testing.assert_close(invert_points(field, points).positions, points)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 1), (2, 2)])
def test_tiny_frames(size):
    point = torch.tensor([[(size[1] - 1) / 2, (size[0] - 1) / 2]])
    result = invert_points(torch.zeros(2, *size, 2), point)
    assert result.valid.all()
    torch.testing.assert_close(result.positions, point[:, None].expand(-1, 2, -1))
    flow, valid = image_flow(torch.zeros(2, *size, 2))
    assert valid.all() and not flow.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deformation": torch.zeros(4, 4, 2)}, r"a field must be \(T, H, W, 2\)"),
        ({"points": torch.zeros(3)}, "points must be"),
        ({"points": torch.zeros(3, 5, 2)}, "points must be"),
        ({"points": torch.full((3, 2), math.nan)}, "not finite"),
        ({"start": (2, torch.zeros(3, 2))}, "between 0 and 1, got 2"),
        ({"start": (0, torch.zeros(2, 2))}, r"start positions must be \(3, 2\)"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"deformation": torch.zeros(2, 4, 4, 2), "points": torch.zeros(3, 2), **change}
    with pytest.raises(InputError, match=message):
        invert_points(**arguments)


def test_dense_inversion_agrees_with_the_exact_one_from_a_bad_start():
    field, _ = field_of("rotation")
    targets = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([127.0, 95.0])
    exact = invert_points(field[-1:], targets)
    near, residual = invert_near(field[-1], targets, torch.zeros(500, 2))
    seen = exact.valid[:, 0]
    torch.testing.assert_close(near[seen], exact.positions[seen, 0], atol=0.01, rtol=0)
    assert residual.max() < 0.05


def test_image_flow_of_a_moving_picture():
    """Frames that show the image shifted by 0, 1, 2 pixels to the right: content moves one pixel a frame."""
    fields = torch.zeros(3, 32, 32, 2)
    for t in range(3):
        fields[t, ..., 0] = -2 * t / 32
    flow, valid = image_flow(fields)
    torch.testing.assert_close(flow, torch.tensor([1.0, 0.0]).expand_as(flow), atol=1e-3, rtol=0)
    assert valid[:, :, :-1].all()
    assert not valid[:, :, -1].any(), "the last column leaves the picture"


@pytest.mark.parametrize("kind", KINDS)
def test_image_flow_of_known_motions(kind):
    field, times = field_of(kind)
    flow, valid = image_flow(field)
    grid = identity_grid(*SIZE, dtype=torch.float64)
    for t in range(FRAMES - 1):
        there = inverse_motion(kind, motion(kind, grid, times[t].expand(SIZE)), times[t + 1].expand(SIZE))
        truth = (to_pixels(there, SIZE) - to_pixels(grid, SIZE)).float()
        inner = valid[t].clone()
        inner[[0, -1]] = inner[:, [0, -1]] = False
        landing = to_pixels(there, SIZE)
        inner &= ((landing > 1) & (landing < torch.tensor([SIZE[1] - 2.0, SIZE[0] - 2.0]))).all(dim=-1)
        assert inner.float().mean() > 0.7
        assert (flow[t] - truth)[inner].norm(dim=-1).max() <= 0.05


def test_content_that_vanishes_has_no_flow():
    """The second frame shows one half of the image only, twice as wide, and beyond its border it goes on from there."""
    grid = identity_grid(8, 32)
    hidden = torch.zeros(2, 8, 32, 2)
    hidden[1, ..., 0] = -0.5 * grid[..., 0] - 0.5
    flow, valid = image_flow(hidden)
    assert valid[0, :, :15].all() and not valid[0, :, 17:].any()
    assert (flow[0, :, 20, 0] > 10).all()
