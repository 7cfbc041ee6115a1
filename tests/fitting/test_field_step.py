import numpy as np
import torch

from gendef.fitting.field_step import NormalEquations, edge_weights, smooth_step


def test_the_step_solves_its_linear_system():
    torch.manual_seed(0)
    height, width = 4, 5
    equations = NormalEquations.damped(height, width, 0.1)
    root = torch.randn(2, 2, height, width)
    equations.matrix += torch.stack((root[0].square().sum(0), (root[0] * root[1]).sum(0), root[1].square().sum(0)))
    equations.add_target(torch.randn(2, height, width), torch.rand(height, width))
    across, down = torch.rand(height, width - 1), torch.rand(height - 1, width)
    deviation = torch.randn(2, height, width)
    got = smooth_step(equations, across, down, deviation, 100)

    count = height * width
    laplace = np.zeros((count, count))
    number = np.arange(count).reshape(height, width)
    edges = [(number[:, :-1], number[:, 1:], across), (number[:-1], number[1:], down)]
    for first, second, weight in edges:
        for i, j, w in zip(first.ravel(), second.ravel(), weight.numpy().ravel(), strict=True):
            laplace[[i, j], [i, j]] += w
            laplace[[i, j], [j, i]] -= w
    xx, xy, yy = (np.diag(entry.numpy().ravel()) for entry in equations.matrix)
    matrix = np.block([[xx + laplace, xy], [xy, yy + laplace]])
    rough = np.concatenate([laplace @ part.numpy().ravel() for part in deviation])
    want = np.linalg.solve(matrix, equations.vector.numpy().ravel() - rough)
    np.testing.assert_allclose(got.numpy().ravel(), want, atol=1e-3)


def test_colours_pull_like_their_squares():
    torch.manual_seed(1)
    across, down, residual = torch.randn(3, 3, 4, 5).double()
    weight, step = torch.rand(4, 5).double(), torch.randn(2, 4, 5).double()
    equations = NormalEquations.damped(4, 5, 0.0)
    equations.matrix, equations.vector = equations.matrix.double(), equations.vector.double()
    equations.add_colours(across, down, residual, weight)
    (xx, xy, yy), (x, y) = equations.matrix, step
    found = (xx * x * x + 2 * xy * x * y + yy * y * y - 2 * (equations.vector * step).sum(dim=0)).sum()
    cost = (weight * (residual + across * x + down * y).square()).sum()
    torch.testing.assert_close(found, cost - (weight * residual.square()).sum())


def test_without_pull_the_field_flattens():
    deviation = torch.zeros(2, 6, 6)
    deviation[:, :, 3:] = 1
    ones = torch.ones(6, 5), torch.ones(5, 6)
    step = smooth_step(NormalEquations.damped(6, 6, 1e-4), *ones, deviation, 200)
    flattened = deviation + step
    assert float(flattened.amax() - flattened.amin()) < 0.02


def test_weights_fall_at_edges_and_bends():
    frame = torch.zeros(3, 4, 8)
    frame[:, :, 4:] = 1
    deviation = torch.zeros(2, 4, 8)
    across, down = edge_weights(frame, deviation, 8.0, 0.5)
    assert across[0, 3] < 0.1 and across[0, 2] == 1 and float(down.min()) == 1
    deviation[0, 2:] = 5
    _, bent = edge_weights(frame, deviation, 8.0, 0.5)
    assert bent[1, 0] < 0.11 and bent[0, 0] == 1
