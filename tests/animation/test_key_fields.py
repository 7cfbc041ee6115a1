import pytest
import torch

from gendef.animation.key_fields import KeyFields, bilinear_weights, spline_weights
from gendef.errors import InputError
from gendef.geometry import identity_grid, sample

KEYS = torch.arange(-8.0, 9.0, 4.0)


def motion_of(course, keys=KEYS, side=8):
    """Key fields that are `course` (a function of time and place) at every key."""
    place = identity_grid(side, side)
    return KeyFields(keys, torch.stack([course(float(time), place) for time in keys]), torch.ones(4, 4))


def test_splines_are_exact_for_cubics():
    weights = spline_weights(KEYS, [-7.5, 0.0, 3.3])
    times = torch.tensor([-7.5, 0.0, 3.3])
    torch.testing.assert_close(weights @ KEYS**3, times**3, atol=1e-4, rtol=1e-4)
    slopes = spline_weights(KEYS, [-7.5, 0.0, 3.3], derivative=1)
    torch.testing.assert_close(slopes @ KEYS**3, 3 * times**2, atol=1e-4, rtol=1e-4)


def test_fields_at_key_times_are_the_key_fields():
    motion = motion_of(lambda time, place: torch.sin(place * time))
    torch.testing.assert_close(motion.at(KEYS), motion.fields, atol=1e-6, rtol=0)


@pytest.mark.parametrize("time", [-8.5, 9.0, float("nan")])
def test_times_outside_are_refused(time):
    motion = motion_of(lambda time, place: place * time)
    with pytest.raises(InputError, match="8"):
        motion.at([time])


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.3, -0.71), (-1.0, 1.0), (1.4, 0.2)])
def test_bilinear_weights_read_as_sampling_does(x, y):
    values = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    expected = sample(values[None, None], torch.tensor([[[x, y]]]))[0, 0, 0]
    torch.testing.assert_close((bilinear_weights(x, y, 6) @ values.flatten()), expected)


@pytest.mark.parametrize("at_end", [True, False])
def test_a_joined_drift_goes_on_steadily(at_end):
    drift = motion_of(lambda time, place: torch.full_like(place, 0.01 * time))
    longer = drift.joined(drift, at_end=at_end)
    expected = torch.arange(-8.0, 17.0, 4.0) if at_end else torch.arange(-16.0, 9.0, 4.0)
    torch.testing.assert_close(longer.times, expected)
    torch.testing.assert_close(longer.fields[:, 3, 3, 0], 0.01 * expected)


def test_a_joined_zoom_multiplies():
    # Frame t shows the image enlarged by 1 / (1 + .02 t): its pixel p looks at (1 + .02 t) p.
    zoom = motion_of(lambda time, place: 0.02 * time * place)
    longer = zoom.joined(zoom)
    inner = slice(2, 6)  # near the border the second zoom looks beyond the first one's grid
    expected = (1.16 * 1.16 - 1) * identity_grid(8, 8)
    torch.testing.assert_close(longer.fields[-1, inner, inner], expected[inner, inner], atol=1e-5, rtol=0)


def test_strength_scales_offsets():
    motion = motion_of(lambda time, place: place * time)
    torch.testing.assert_close(motion.scaled(0.5).fields, motion.fields / 2)
