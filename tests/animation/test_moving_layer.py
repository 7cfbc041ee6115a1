import torch

from gendef.animation.moving_layer import continued, moving_layer, moving_places, travel
from gendef.geometry import identity_grid

TIMES = torch.arange(-8.0, 9.0, 4.0)


def half_moving(speed=0.02):
    """The upper half of a 16x16 grid drifts to the right by `speed` a frame, the lower one stands still."""
    fields = torch.zeros(1, len(TIMES), 16, 16, 2)
    fields[:, :, :8, :, 0] = -speed * TIMES[None, :, None, None]
    return fields, torch.ones(1, len(TIMES), 16, 16)


def test_travel_is_in_pixels_over_32_frames():
    fields, visible = half_moving(0.02)
    far = travel(fields, visible, TIMES)
    torch.testing.assert_close(far[0, :8], torch.full((8, 16), 0.02 * 32 * 128))
    assert far[0, 8:].abs().max() == 0


def test_only_what_goes_moves():
    fields, visible = half_moving()
    moving = moving_places(travel(fields, visible, TIMES))
    assert moving[0, :8].min() == 1 and moving[0, 8:].max() == 0


def test_noise_of_optical_flow_stands_still():
    noise = torch.randn(1, len(TIMES), 16, 16, 2, generator=torch.Generator().manual_seed(0)) * 0.0003
    assert moving_places(travel(noise, torch.ones(1, len(TIMES), 16, 16), TIMES)).max() == 0


def test_the_motion_of_what_moves_goes_on_behind_what_stands_still():
    fields, visible = half_moving()
    layer = moving_layer(fields, visible, moving_places(travel(fields, visible, TIMES)), 8)
    expected = -0.02 * TIMES
    assert layer.shape == (1, len(TIMES), 8, 8, 2)
    # Near its edge the upper half would, later, show what is now beyond: the map is read where a place looks.
    torch.testing.assert_close(layer[0, :, :, :, 0], expected[:, None, None].expand(-1, 8, 8), atol=1e-5, rtol=0)
    assert layer[..., 1].abs().max() < 1e-6


def test_continuation_keeps_what_is_known_and_is_smooth_elsewhere():
    place = identity_grid(16, 16).movedim(-1, 0)[None]
    weight = torch.ones(1, 1, 16, 16)
    weight[:, :, 4:12, 4:12] = 0
    filled = continued(place * weight, weight)
    torch.testing.assert_close(filled * weight, place * weight)
    assert (filled - place).abs().max() < 0.4
    assert filled.abs().max() <= 1


def test_nothing_known_gives_zeros():
    assert continued(torch.ones(1, 2, 8, 8), torch.zeros(1, 1, 8, 8)).abs().max() == 0
