import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendef.warp import (
    folded_share,
    identity_grid,
    image_flow,
    invert_points,
    jacobian_determinant,
    resize_field,
    sample,
    sampling_positions,
    to_normalised,
    to_pixels,
    warp,
)


def test_identity_grid_has_pixel_centres():
    grid = identity_grid(2, 4)
    assert grid[0, 0].tolist() == [-0.75, -0.5]
    assert grid[1, 3].tolist() == [0.75, 0.5]


@given(st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_pixels_and_normalised_are_inverse(height, width):
    grid = identity_grid(height, width, dtype=torch.float64)
    pixels = to_pixels(grid, (height, width))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    torch.testing.assert_close(pixels, torch.stack((columns, rows), dim=-1).double())
    torch.testing.assert_close(to_normalised(pixels, (height, width)), grid)


@pytest.mark.parametrize("size", [(5, 7), (64, 64), (33, 20)])
def test_zero_field_is_the_identity(size):
    image = torch.randn(2, 3, *size)
    frames = warp(image, torch.zeros(2, 3, *size, 2))
    torch.testing.assert_close(frames, image[:, None].expand(-1, 3, -1, -1, -1), atol=1e-5, rtol=0)


def test_translation_by_whole_pixels_copies_pixels():
    image = torch.randn(1, 3, 8, 10)
    field = torch.zeros(1, 1, 8, 10, 2)
    field[..., 0], field[..., 1] = 2 * 2 / 10, -1 * 2 / 8  # two pixels right, one up
    frame = warp(image, field)[0, 0]
    torch.testing.assert_close(frame[:, 1:, :8], image[0, :, :7, 2:], atol=1e-5, rtol=0)
    # Beyond the border its pixels repeat.
    torch.testing.assert_close(frame[:, 1:, 9], image[0, :, :7, 9], atol=1e-5, rtol=0)


def test_sample_reads_bilinearly():
    image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    centre = sample(image, torch.zeros(1, 1, 2))
    assert centre.item() == pytest.approx(1.5)


def test_field_of_another_size_samples_the_canonical_image_directly():
    image = torch.randn(1, 3, 64, 64)
    frames = warp(image, torch.zeros(1, 1, 32, 32, 2))
    torch.testing.assert_close(frames[0, 0], torch.nn.functional.avg_pool2d(image, 2)[0], atol=1e-5, rtol=0)


def zoom_field(height, width, factor):
    return (identity_grid(height, width) * (factor - 1))[None]


def test_jacobian_of_zoom_and_fold():
    field = zoom_field(16, 12, 0.5)
    torch.testing.assert_close(jacobian_determinant(field), torch.full((1, 15, 11), 0.25), atol=1e-5, rtol=0)
    mirrored = zoom_field(16, 12, 1.0).clone()
    mirrored[..., 0] = -2 * identity_grid(16, 12)[..., 0]
    assert folded_share(mirrored) == 1.0
    assert folded_share(torch.zeros(1, 16, 12, 2)) == 0.0


def test_resizing_a_smooth_field_keeps_its_values():
    field = zoom_field(32, 32, 0.8)
    larger = resize_field(field, (64, 64))
    expected = zoom_field(64, 64, 0.8)
    torch.testing.assert_close(larger[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=1e-5, rtol=0)


def smooth_fields(kind, size=64):
    grid = identity_grid(size, size)
    if kind == "translation":
        return torch.tensor([0.07, -0.11]).expand(1, size, size, 2)
    if kind == "rotation":
        angle = 0.2
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        return (grid @ turn.t() - grid)[None]
    if kind == "zoom":
        return (grid * 0.15)[None]
    wave = torch.stack((torch.sin(3 * grid[..., 1]), torch.cos(4 * grid[..., 0])), dim=-1)
    return (0.08 * wave)[None]


@pytest.mark.parametrize("kind", ["translation", "rotation", "zoom", "waves"])
def test_inversion_finds_the_pixel_that_looks_there(kind):
    field = smooth_fields(kind)
    pixels = torch.tensor([[20.0, 31.5], [40.25, 22.75], [12.0, 50.0]])
    where = to_normalised(pixels, (64, 64))
    targets = where + sample(field.movedim(-1, 1), where[None])[0].movedim(0, -1)
    found = invert_points(field, to_pixels(targets, (64, 64)))
    assert found.valid.all() and not found.folded.any() and found.residual.max() < 1e-3
    torch.testing.assert_close(found.positions[:, 0], pixels, atol=0.05, rtol=0)


def test_image_flow_of_a_moving_picture():
    """Frames that show the image shifted by 0, 1, 2 pixels to the right: content moves one pixel a frame."""
    fields = torch.zeros(3, 32, 32, 2)
    for t in range(3):
        fields[t, ..., 0] = -2 * t / 32
    flow, valid = image_flow(fields)
    inside = flow[:, 4:-4, 4:-4]
    torch.testing.assert_close(inside, torch.tensor([1.0, 0.0]).expand_as(inside), atol=0.01, rtol=0)
    assert valid[:, :, :-1].all() and not valid[:, :, -1].any(), "the last column leaves the picture"


def test_sampling_positions_are_in_canonical_pixels():
    positions = sampling_positions(torch.zeros(1, 4, 4, 2), (8, 8))
    assert positions[0, 0, 0].tolist() == [0.5, 0.5]
