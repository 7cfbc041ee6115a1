import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendef.geometry import (
    canonical_flow,
    compose,
    folded_share,
    identity_grid,
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


def test_canonical_flow_is_in_canonical_pixels():
    field = torch.zeros(3, 8, 8, 2)
    field[1:, ..., 0], field[2, ..., 1] = 0.5, -0.25
    flow = canonical_flow(field, (16, 32))
    assert flow.shape == (2, 8, 8, 2)
    assert flow[0, 3, 3].tolist() == [8.0, 0.0]
    assert flow[1, 3, 3].tolist() == [0.0, -2.0]


def test_composition_of_affine_fields_is_the_affine_composition():
    """x -> 0.7 x then y -> 0.8 y + 0.1: affine fields are exact under bilinear sampling, away from the borders."""
    grid = identity_grid(32, 24, dtype=torch.float64)
    inner = (grid * (0.8 - 1) + 0.1)[None]
    outer = (grid * (0.7 - 1))[None]
    both = compose(outer, inner)
    torch.testing.assert_close(grid + both[0], 0.8 * (0.7 * grid) + 0.1, atol=1e-9, rtol=0)
    zero = torch.zeros_like(inner)
    torch.testing.assert_close(compose(zero, inner), inner)
    torch.testing.assert_close(compose(outer, zero), outer)


def test_sampling_positions_are_in_canonical_pixels():
    positions = sampling_positions(torch.zeros(1, 4, 4, 2), (8, 8))
    assert positions[0, 0, 0].tolist() == [0.5, 0.5]
