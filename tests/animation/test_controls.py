import math

import pytest
import torch

from gendef.animation.controls import Arrow, constraints_of, parse_direction, pulled, read_arrows, turned
from gendef.animation.key_fields import KeyFields
from gendef.animation.smooth_fields import at_points
from gendef.errors import InputError


def test_arrows_are_read_in_pixels():
    (arrow,) = read_arrows([(0, 0, 199, 99)], (100, 200))
    assert arrow.start == pytest.approx((-0.995, -0.99))
    assert arrow.displacement == pytest.approx((1.99, 1.98))


@pytest.mark.parametrize("arrow", [(0, 0, 200, 50), (-1, 5, 10, 10), (5, 5, 10, 100)])
def test_arrows_that_leave_the_photograph_are_refused(arrow):
    with pytest.raises(InputError, match="200x100"):
        read_arrows([arrow], (100, 200))


@pytest.mark.parametrize("arrow", [(1, 2, 3), (1, 2, 3, math.nan), (1, 2, 3, 4, 5)])
def test_arrows_are_four_numbers(arrow):
    with pytest.raises(InputError):
        read_arrows([arrow], (100, 200))


def test_within_the_key_times_a_constraint_is_the_arrow():
    keys = torch.tensor([-8.0, 0.0, 8.0])
    (constraint,) = constraints_of([Arrow((0.1, 0.2), (0.3, 0.1))], keys, 0, 6)
    assert (constraint.x, constraint.y, constraint.time) == (0.1, 0.2, 6)
    assert (constraint.dx, constraint.dy) == pytest.approx((0.2, -0.1))


def test_beyond_the_key_times_part_of_the_way_counts():
    keys = torch.tensor([-8.0, 0.0, 8.0])
    later, earlier = constraints_of([Arrow((0.1, 0.2), (0.3, 0.1))], keys, -16, 16)
    assert (later.time, earlier.time) == (8, -8)
    assert (later.dx, later.dy) == pytest.approx((0.1, -0.05))
    assert (earlier.dx, earlier.dy) == pytest.approx((-0.1, 0.05))


def test_arrows_arrive():
    fields = torch.randn(3, 8, 8, 2, generator=torch.Generator().manual_seed(0)) * 0.02
    fields[0] = 0
    arrows = [Arrow((-0.5, 0), (-0.2, 0.1)), Arrow((0.5, 0.1), (0.5, -0.2)), Arrow((0.1, -0.6), (0.1, -0.6))]
    moved = pulled(fields, arrows, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(moved[0], fields[0])
    for arrow in arrows:
        offset = at_points(moved[-1:], torch.tensor([arrow.tip]))[0, 0]
        assert torch.allclose(-offset, torch.tensor(arrow.displacement), atol=2e-3)


def test_no_arrow_changes_nothing():
    fields = torch.randn(2, 8, 8, 2)
    assert torch.equal(pulled(fields, [], torch.tensor([0.0, 1.0])), fields)


@pytest.mark.parametrize(("name", "degrees"), [("right", 0), ("up", 90), ("-45", -45), (30, 30)])
def test_directions_have_names_or_degrees(name, degrees):
    assert parse_direction(name) == degrees


@pytest.mark.parametrize("name", ["north", "", "nan"])
def test_other_directions_are_refused(name):
    with pytest.raises(InputError):
        parse_direction(name)


def motion_of(last):
    return KeyFields(torch.tensor([0.0, 8.0]), torch.stack((torch.zeros_like(last), last)), torch.ones(4, 4))


@pytest.mark.parametrize(("degrees", "expected"), [(0, (30, 0)), (90, (0, -30)), (180, (-30, 0)), (270, (0, 30))])
def test_a_turned_motion_keeps_its_speed_in_pixels(degrees, expected):
    size = (100, 200)
    # 30 pixels to the left: a field that looks to the right, in units of half the width.
    last = torch.tensor([0.3, 0.0]).expand(4, 4, 2)
    motion = turned(motion_of(last), degrees, torch.ones(size), size)
    pixels = -motion.fields[-1] * torch.tensor([100.0, 50.0])
    assert torch.allclose(pixels, torch.tensor(expected, dtype=torch.float32).expand(4, 4, 2), atol=1e-4)
    assert torch.equal(motion.fields[0], torch.zeros(4, 4, 2))


def test_only_what_moves_has_a_direction():
    last = torch.zeros(4, 4, 2)
    last[:2, :, 0], last[2:, :, 1] = -0.2, -0.9  # above to the right, below something else
    moving = torch.zeros(40, 40)
    moving[:20] = 1
    motion = turned(motion_of(last), 90, moving, (40, 40))
    assert torch.allclose(motion.fields[-1][0, 0], torch.tensor([0.0, 0.2]), atol=1e-6)


def test_a_zoom_has_no_direction():
    last = torch.stack(torch.meshgrid(torch.tensor([-0.3, 0.3]), torch.tensor([-0.3, 0.3]), indexing="xy"), dim=-1)
    with pytest.raises(InputError):
        turned(motion_of(last), 0, torch.ones(10, 10), (10, 10))
