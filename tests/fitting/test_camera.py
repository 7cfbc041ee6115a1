import itertools

import torch

from gendef.fitting.camera import canvas_positions, find_camera
from gendef.geometry.coordinates import pixel_grid
from gendef.optical_flow.consistency import flow_trust


def flows_of(matrices, height, width):
    """Flows between views x -> matrices[t] x of one plane."""
    grid = pixel_grid(height, width).double()

    def through(matrix):
        moved = torch.einsum("ij,jhw->ihw", matrix[:, :2], grid) + matrix[:, 2, None, None]
        return (moved[:2] / moved[2] - grid).float()

    pairs = list(itertools.pairwise(matrices))
    forward = torch.stack([through(torch.linalg.inv(b) @ a) for a, b in pairs])
    backward = torch.stack([through(torch.linalg.inv(a) @ b) for a, b in pairs])
    return forward, backward


def trusted(matrices, height, width):
    forward, backward = flows_of(matrices, height, width)
    return torch.stack([flow_trust(back, there) for there, back in zip(forward, backward, strict=True)])


def views_of_a_plane(count, step):
    matrices = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    for t in range(count):
        matrices[t, :2, 2] = t * torch.tensor(step, dtype=torch.float64)
        matrices[t, 2, 0] = 1e-4 * t
        matrices[t, 0, 1] = 0.01 * t
    return matrices


def test_a_moving_plane_is_recovered():
    height, width = 60, 80
    matrices = views_of_a_plane(5, (3.0, -1.0))
    camera = find_camera(*flows_of(matrices, height, width), 0, trusted(matrices, height, width))
    assert camera.kind == "homography" and camera.reference == 2
    relative = torch.linalg.inv(matrices[2]) @ matrices
    shift = camera.to_canvas[2]
    corner = torch.tensor([width - 1.0, 0.0, 1.0], dtype=torch.float64)
    for t in range(5):
        want = shift @ relative[t] @ corner
        got = camera.to_canvas[t] @ corner
        assert float((got[:2] / got[2] - want[:2] / want[2]).abs().max()) < 0.05
        inside = got[:2] / got[2]
        assert bool((inside > -0.6).all()) and inside[0] < camera.canvas[1] - 0.4 and inside[1] < camera.canvas[0] - 0.4
    assert torch.equal(shift[:2, :2], torch.eye(2, dtype=torch.float64))  # the reference lies upright and unscaled


def test_a_still_camera_gives_the_exact_identity():
    flow = torch.zeros(3, 2, 40, 50)
    camera = find_camera(flow, flow, 0, torch.ones(3, 40, 50))
    assert camera.kind == "still" and camera.canvas == (40, 50)
    positions = canvas_positions(camera.to_canvas[0], (40, 50), (40, 50), (40, 50))
    from gendef.geometry import identity_grid

    torch.testing.assert_close(positions.movedim(0, -1), identity_grid(40, 50), atol=1e-7, rtol=0)


def test_wild_motion_falls_back_to_something_usable():
    height, width = 40, 50
    matrices = torch.eye(3, dtype=torch.float64).repeat(6, 1, 1)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 2.0 ** torch.arange(6)  # zooms by 32 in all
    camera = find_camera(*flows_of(matrices, height, width), 0, trusted(matrices, height, width))
    assert camera.kind in ("translation", "still")
    assert camera.canvas[0] * camera.canvas[1] <= 6 * height * width


def test_trust_needs_agreement_there_and_back():
    flow = torch.zeros(2, 10, 12)
    flow[0] = 2.0
    trust = flow_trust(flow, -flow)
    assert float(trust[:, :10].min()) > 0.99 and float(trust[:, 10:].max()) == 0  # the last two columns leave
    assert float(flow_trust(flow, flow)[:, :9].max()) < 0.01
