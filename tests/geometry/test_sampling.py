import torch

from gendef.geometry.coordinates import pixel_grid
from gendef.geometry.sampling import bilinear_cell, sample


def test_the_cell_of_each_coordinate():
    first, share = bilinear_cell(torch.tensor([-0.7, 0.0, 0.25, 3.0, 3.5, 4.0, 9.0]), 5)
    assert first.tolist() == [0, 0, 0, 3, 3, 3, 3]
    assert share.tolist() == [0, 0, 0.25, 0, 0.5, 1, 1]
    assert [value.tolist() for value in bilinear_cell(torch.tensor([-1.0, 0.0, 2.0]), 1)] == [[0, 0, 0], [0, 0, 0]]


def test_reading_at_pixel_positions_is_bilinear():
    torch.manual_seed(0)
    image = torch.rand(3, 6, 8, dtype=torch.float64)
    positions = torch.rand(2, 50, 1, dtype=torch.float64) * torch.tensor([[[9.0]], [[7.0]]]) - 1
    (left, a), (top, b) = bilinear_cell(positions[0], 8), bilinear_cell(positions[1], 6)
    x, y = left.long(), top.long()
    rows = [(1 - a) * image[:, row, x] + a * image[:, row, x + 1] for row in (y, y + 1)]
    torch.testing.assert_close(sample(image, positions.movedim(0, -1), units="pixels"), (1 - b) * rows[0] + b * rows[1])
    torch.testing.assert_close(
        sample(image, pixel_grid(6, 8).double().movedim(0, -1), units="pixels"), image, atol=1e-5, rtol=0
    )
