import torch

from gendef.animation.smooth_fields import area_factors, at_points, node_counts, node_positions, on_nodes, unfolded
from gendef.geometry import identity_grid


def linear(points):
    """A field that is linear in the place."""
    return torch.stack((0.3 * points[..., 0] - 0.1 * points[..., 1] + 0.2, 0.2 * points[..., 1] - 0.4), dim=-1)


def test_nodes_span_the_pixel_centres():
    nodes = node_positions((3, 5), (90, 200))
    assert torch.allclose(nodes[0, 0], identity_grid(90, 200)[0, 0])
    assert torch.allclose(nodes[-1, -1], identity_grid(90, 200)[-1, -1])
    assert torch.allclose(nodes[1, 2], torch.zeros(2), atol=1e-7)


def test_node_counts_of_small_and_large_pictures():
    assert node_counts((16, 17)) == (3, 3)
    assert node_counts((2, 9)) == (2, 2)
    assert max(node_counts((3000, 5000))) == 128


def test_linear_fields_are_exact_up_to_the_borders():
    fields = linear(identity_grid(8, 8))[None]
    expected = linear(node_positions((12, 20), (90, 200)))
    assert torch.allclose(on_nodes(fields, (12, 20), (90, 200))[0], expected, atol=1e-6)


def test_splines_pass_through_the_values_of_the_cells():
    fields = torch.randn(2, 6, 6, 2, generator=torch.Generator().manual_seed(0))
    # Nodes of a picture of 6x6 pixels lie at the centres of 6x6 cells.
    assert torch.allclose(on_nodes(fields, (6, 6), (6, 6)), fields, atol=1e-5)
    assert torch.allclose(at_points(fields, identity_grid(6, 6).reshape(-1, 2)), fields.flatten(1, 2), atol=1e-5)


def test_points_and_nodes_agree():
    fields = torch.randn(1, 6, 6, 2, generator=torch.Generator().manual_seed(0))
    places = node_positions((5, 7), (40, 60))
    assert torch.allclose(
        at_points(fields, places.reshape(-1, 2)).reshape(1, 5, 7, 2), on_nodes(fields, (5, 7), (40, 60))
    )


def test_a_view_is_the_middle_of_the_picture():
    fields = linear(identity_grid(8, 8))[None]
    expected = linear(node_positions((5, 5), (40, 40)) * 0.5)
    assert torch.allclose(on_nodes(fields, (5, 5), (40, 40), view=0.5)[0], expected, atol=1e-6)


def test_area_factor_of_a_zoom():
    nodes = node_positions((5, 9), (50, 80))[None] * torch.tensor([0.5, -0.2])
    assert torch.allclose(area_factors(nodes, (50, 80)), torch.full((1, 4, 8), 1.5 * 0.8), atol=1e-5)


def test_fields_that_do_not_fold_stay_bit_for_bit():
    fields = linear(identity_grid(8, 8))[None] * 0.5
    assert torch.equal(unfolded(fields, torch.ones(9, 9, dtype=torch.bool), (64, 64)), fields)


def test_folds_are_blurred_away_where_they_are_seen():
    fields = torch.zeros(1, 16, 16, 2)
    fields[:, :, 8:, 0] = -0.6  # the right half jumps over the left one
    shown = torch.ones(17, 17, dtype=torch.bool)
    size = (128, 128)
    assert (area_factors(on_nodes(fields, (17, 17), size), size) < 0).any()
    assert (area_factors(on_nodes(unfolded(fields, shown, size), (17, 17), size), size) > 0).all()
    shown[:, 4:] = False
    assert torch.equal(unfolded(fields, shown, size), fields)
