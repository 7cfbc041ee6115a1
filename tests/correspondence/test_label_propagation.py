import pytest
import torch
import torch.nn.functional as F

from gendef.correspondence.label_propagation import propagate_labels


def brute_force(features, others, labels, radius, neighbours, temperature):
    """The same, place by place, in float64."""
    _, height, width = features.shape
    result = torch.zeros(labels[0].shape, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            found = []
            for other, known in zip(others, labels, strict=True):
                for v in range(max(y - radius, 0), min(y + radius + 1, height)):
                    for u in range(max(x - radius, 0), min(x + radius + 1, width)):
                        similarity = float(features[:, y, x].double() @ other[:, v, u].double())
                        found.append((similarity, known[:, v, u].double()))
            found.sort(key=lambda item: -item[0])
            near = found[:neighbours]
            share = torch.softmax(torch.tensor([item[0] for item in near], dtype=torch.float64) / temperature, 0)
            result[:, y, x] = sum(one * item[1] for one, item in zip(share, near, strict=True))
    return result


@pytest.mark.parametrize(
    ("size", "radius", "neighbours"), [((6, 9), 2, 5), ((7, 4), 5, 3), ((1, 3), 1, 2), ((4, 80), 3, 5)]
)
def test_equals_the_plain_way(size, radius, neighbours):
    torch.manual_seed(1)
    frames = F.normalize(torch.randn(3, 5, *size), dim=1)
    labels = torch.softmax(torch.randn(2, 4, *size), dim=1)
    found = propagate_labels(frames[0], frames[1:], labels, radius, neighbours, 0.07)
    expected = brute_force(frames[0], frames[1:], labels, radius, neighbours, 0.07)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.sum(dim=0), torch.ones(size))


def test_a_picture_smaller_than_the_neighbours_takes_nothing_from_outside():
    features = F.normalize(torch.randn(4, 2, 2), dim=0)
    labels = torch.rand(3, 2, 2)
    found = propagate_labels(features, [features], [labels], 2, 8, 0.07)
    expected = brute_force(features, [features], [labels], 2, 8, 0.07)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_labels_follow_a_shift_within_the_radius_and_no_further():
    torch.manual_seed(2)
    features = F.normalize(torch.randn(16, 12, 20), dim=0)
    labels = (torch.rand(1, 12, 20) > 0.5).float()
    moved, expected = features.roll(3, dims=2), labels.roll(3, dims=2)
    found = propagate_labels(moved, [features], [labels], 3, 1)
    assert torch.equal(found[..., 3:], expected[..., 3:])
    near = propagate_labels(moved, [features], [labels], 2, 1)
    assert float((near - expected).abs()[..., 3:].mean()) > 0.25
