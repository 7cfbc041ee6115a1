import numpy as np
import torch

from gendef.fitting.canonical_solve import CanonicalSystem, fill_unseen


def dense_matrix(positions, size):
    """The bilinear reading of an image as a matrix, by its definition."""
    rows = []
    for x, y in positions:
        x, y = min(max(x, 0), size[1] - 1), min(max(y, 0), size[0] - 1)
        row = np.zeros(size)
        left, top = min(int(x), size[1] - 2), min(int(y), size[0] - 2)
        for dy in (0, 1):
            for dx in (0, 1):
                row[top + dy, left + dx] += (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
        rows.append(row.ravel())
    return np.stack(rows)


def test_solves_the_weighted_least_squares_problem():
    generator = np.random.default_rng(0)
    size = (5, 7)
    places = generator.uniform(-0.5, 7, (400, 2))
    colours = generator.uniform(-1, 1, (400, 3))
    weights = generator.uniform(0.1, 2, 400)
    start = generator.uniform(-1, 1, (3, *size))
    system = CanonicalSystem(size)
    for part in (slice(0, 200), slice(200, 400)):  # two frames of 10 by 20
        system.add(
            torch.tensor(colours[part].T.reshape(3, 10, 20)).float(),
            torch.tensor(places[part].T.reshape(2, 10, 20)).float(),
            torch.tensor(weights[part].reshape(10, 20)).float(),
        )
    got = system.solve(torch.tensor(start).float(), iterations=60, ridge=0.1, smooth=0.0)
    matrix = dense_matrix(places, size)
    normal = matrix.T @ (weights[:, None] * matrix) + 0.1 * np.eye(35)
    for channel in range(3):
        right = matrix.T @ (weights * colours[:, channel]) + 0.1 * start[channel].ravel()
        np.testing.assert_allclose(got[channel].ravel(), np.linalg.solve(normal, right), atol=2e-4)
    np.testing.assert_allclose(system.mass().ravel(), (weights @ matrix), rtol=1e-4, atol=1e-5)


def test_merged_systems_are_one():
    torch.manual_seed(0)
    frames, positions, weight = torch.rand(2, 3, 4, 4), torch.rand(2, 2, 4, 4) * 5, torch.ones(4, 4)
    both, parts = CanonicalSystem((6, 6)), [CanonicalSystem((6, 6)) for _ in range(2)]
    for t in range(2):
        both.add(frames[t], positions[t], weight)
        parts[t].add(frames[t], positions[t], weight)
    parts[0].merge(parts[1])
    start = torch.zeros(3, 6, 6)
    torch.testing.assert_close(parts[0].solve(start), both.solve(start), atol=1e-5, rtol=1e-4)


def test_smoothness_continues_into_what_nobody_saw():
    system = CanonicalSystem((8, 8))
    positions = torch.stack((torch.zeros(8, 8), torch.arange(8.0)[:, None].expand(8, 8)))  # the left column only
    system.add(torch.full((3, 8, 8), 0.5), positions, torch.ones(8, 8))
    solved = system.solve(torch.zeros(3, 8, 8), iterations=100, ridge=0.0, smooth=0.01)
    torch.testing.assert_close(solved, torch.full((3, 8, 8), 0.5), atol=1e-3, rtol=0)


def test_fill_keeps_what_is_seen_and_stays_in_its_range():
    image = torch.linspace(-1, 1, 16).expand(3, 16, 16).clone()
    mass = torch.ones(16, 16)
    mass[4:9, 5:10] = 0
    broken = image.clone()
    broken[:, 4:9, 5:10] = 99
    filled = fill_unseen(broken, mass)
    assert torch.equal(filled[:, mass > 0], image[:, mass > 0])
    assert float((filled - image).abs().max()) < 0.5
    assert torch.equal(fill_unseen(image, torch.ones(16, 16)), image)
